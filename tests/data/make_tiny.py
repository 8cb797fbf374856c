"""The tiny stream of the tests: three tasks on pictures of one coloured shape each.

Writes tests/data/tiny/{task}.parquet and {task}.yaml; the same bytes every time.

    python tests/data/make_tiny.py
"""

import hashlib
import io
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image, ImageDraw

FOLDER = Path(__file__).parent / "tiny"
COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200)}
SHAPES = ["circle", "square"]
ROWS = {"train": 12, "test": 6}
SEED = 0


def picture(colour: str, shape: str, box: list[int], size: tuple[int, int]) -> bytes:
    """A PNG with one shape on grey."""
    image = Image.new("RGB", size, (220, 220, 220))
    draw = ImageDraw.Draw(image)
    (draw.ellipse if shape == "circle" else draw.rectangle)(box, fill=COLOURS[colour])
    with io.BytesIO() as buffer:
        image.save(buffer, "PNG")
        return buffer.getvalue()


def caption(colour: str, shape: str, box: list[int]) -> dict:
    return {"answers": [f"A {colour} {shape}.", f"One {shape} in {colour} on grey."]}


def choice(colour: str, shape: str, box: list[int]) -> dict:
    names = list(COLOURS)
    question = f"What colour is the {shape}?"
    return {"question": question, "choices": names, "answer_index": names.index(colour)}


def ground(colour: str, shape: str, box: list[int]) -> dict:
    return {"question": f"the {colour} {shape}", "box": [float(x) for x in box]}


TASKS = {
    "tiny_caption": (
        caption,
        {
            "kind": "captioning",
            "fields": {"answers": "answers"},
            "prompt": "Provide a one-sentence caption for the provided image.",
            "metric": "cider",
            "generation": {"max_new_tokens": 8, "min_new_tokens": 2},
        },
    ),
    "tiny_choice": (
        choice,
        {
            "kind": "choice_vqa",
            "fields": {
                "question": "question",
                "choices": "choices",
                "answer_index": "answer_index",
            },
            "prompt": "{question}\nOptions: {options}\nAnswer with the option's letter directly.",
            "metric": "choice",
            "generation": {"max_new_tokens": 2},
        },
    ),
    "tiny_ground": (
        ground,
        {
            "kind": "grounding",
            "fields": {"question": "question", "box": "box"},
            "prompt": "Please provide the bounding box coordinates of the region "
            "<ref>{question}</ref>.",
            "metric": "iou",
            "generation": {"max_new_tokens": 12},
        },
    ),
}


def rows(task: str) -> list[dict]:
    """All rows of a task, training rows first."""
    describe, _ = TASKS[task]
    draw = random.Random(f"{SEED}/{task}")
    made = []
    for split, count in ROWS.items():
        for number in range(count):
            size = draw.choice([(28, 28), (56, 28), (30, 40)])
            left, top = draw.randrange(2, 8), draw.randrange(2, 8)
            box = [left, top, left + draw.randrange(8, 16), top + draw.randrange(8, 16)]
            colour, shape = draw.choice(list(COLOURS)), draw.choice(SHAPES)
            content = describe(colour, shape, box)
            image = picture(colour, shape, box, size)
            made.append({"id": f"{split}-{number}", "split": split, "image": image, **content})
    return made


def main() -> None:
    """Write data and manifests."""
    FOLDER.mkdir(exist_ok=True)
    for task, (_, described) in TASKS.items():
        file = FOLDER / f"{task}.parquet"
        pq.write_table(pa.Table.from_pylist(rows(task)), file)
        entry = {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        manifest = {
            "name": task,
            "source": {"name": "drawn for the tests", "version": "1", "licence": "Apache-2.0"},
            "format": "parquet",
            "train": {**entry, "split": "train"},
            "test": {**entry, "split": "test"},
            **described,
            "fields": {"id": "id", "image": "image", **described["fields"]},
        }
        (FOLDER / f"{task}.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False, width=99))


if __name__ == "__main__":
    main()
