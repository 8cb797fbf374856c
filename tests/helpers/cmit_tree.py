"""The nine data sets of the benchmark in their published layout, a few rows each.

Everything lies under ``data/`` as the authors' files do, so that the manifests in
``data_manifests/cmit`` read the tree unchanged (``--root`` names the folder that holds it).
"""

import json
from pathlib import Path

from PIL import Image

TASKS = (
    *("vizwiz_caption", "skvg", "textcaps", "iconqa", "ocrvqa"),
    *("flickr30k", "vizwiz", "kvqa", "pmcvqa"),
)
SIZE = (60, 40)


def write_image(path: Path, colour: int = 0, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (40 * colour % 256, 90, 160)).save(path)


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def talk(*turns: str) -> list[dict]:
    """Human and gpt by turns; the image marker leads, as in InternVL's files."""
    said = [f"<image>\n{turns[0]}", *turns[1:]]
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]


def write_tree(root: Path, rows: int = 3) -> None:
    """All nine tasks, ``rows`` training and test rows each."""
    data = root / "data"
    _captions(data / "vizwiz-caption", "images/train", "val.json", "images/val", rows)
    _captions(data / "textcaps", "images", "val.json", "images", rows)
    _captions(data / "flickr30k", "Images", "flickr30k_test_karpathy.json", "", rows)
    _boxes(data / "sk-vg", rows)
    _choices(data / "iconqa", "multi_text_choice_{}.jsonl", "train", "test", rows)
    _choices(data / "pmcvqa", "{}.jsonl", "train", "test_clean", rows)
    _book_covers(data / "ocrvqa", rows)
    _annotated(data / "vizwiz", rows)
    _persons(data / "kvqa", rows)


def _train(folder: Path, file: str, images: str, conversations: list[list[dict]]) -> None:
    entries = []
    for i, turns in enumerate(conversations):
        image = folder / images / f"train_{i}.jpg"
        write_image(image, i)
        path = image.relative_to(folder.parents[1]).as_posix()
        entries.append({"id": i, "image": path, "conversations": turns})
    write_lines(folder / file, entries)


def _test_image(folder: Path, i: int) -> str:
    write_image(folder / "images" / f"test_{i}.png", i)
    return f"data/{folder.name}/images/test_{i}.png"


def _captions(folder: Path, train_images: str, test: str, test_images: str, rows: int) -> None:
    question = "Provide a one-sentence caption for the provided image."
    talks = [talk(question, f"A plain picture number {i}.") for i in range(rows)]
    _train(folder, "train.jsonl", train_images, talks)
    name = "image" if test_images else "file_name"
    start = "" if test_images else "Images/"
    for i in range(rows):
        write_image(folder / test_images / f"{start}test_{i}.jpg", i)
    content = {
        "images": [{"id": 100 + i, name: f"{start}test_{i}.jpg"} for i in range(rows)],
        "annotations": [
            {"id": 5 * i + k, "image_id": 100 + i, "caption": f"Caption {k} of picture {i}."}
            for i in range(rows)
            for k in range(5)
        ],
    }
    (folder / test).write_text(json.dumps(content))


def _boxes(folder: Path, rows: int) -> None:
    asked = "Please provide the bounding box coordinates of the region <ref>the hat</ref>."
    story = "Based on the Knowledge: Ann wears a hat.\n"
    talks = [
        talk(story + asked, f"<box>[[{100 * i},200,{100 * i + 50},400]]</box>") for i in range(rows)
    ]
    _train(folder, "train.jsonl", "images", talks)
    boxes = [
        {
            "image": _test_image(folder, i),
            "sent": f"hat number {i}",
            "knowledge": "Ann wears a hat.",
            "bbox": [6 * i, 4, 6 * i + 15, 20],
            "width": SIZE[0],
            "height": SIZE[1],
        }
        for i in range(rows)
    ]
    write_lines(folder / "test.jsonl", boxes)


def _choices(folder: Path, pattern: str, train: str, test: str, rows: int) -> None:
    asked = "Which one?\nOptions: A. cat, B. dog, C. cow\nAnswer with the option's letter directly."
    _train(
        folder, pattern.format(train), "images", [talk(asked, "ABC"[i % 3]) for i in range(rows)]
    )
    questions = [
        {
            "image": _test_image(folder, i),
            "question": "Which one?",
            "choices": ["cat", "dog", "cow"],
            "answer": i % 3,
        }
        for i in range(rows)
    ]
    write_lines(folder / pattern.format(test), questions)


def _book_covers(folder: Path, rows: int) -> None:
    ending = "\nAnswer the question with a single word or phrase."
    talks = [
        talk(f"Who wrote book {i}?{ending}", "Ann Lee", f"Is it a guide?{ending}", "Yes")
        for i in range(rows)
    ]
    _train(folder, "train.jsonl", "images", talks)
    questions = [
        {
            "image": _test_image(folder, i),
            "question": f"Who wrote book {i}?",
            "question_id": i,
            "answer": "Ann Lee",
        }
        for i in range(rows)
    ]
    write_lines(folder / "ocrvqa_val.jsonl", questions)


def _annotated(folder: Path, rows: int) -> None:
    ending = "\nAnswer the question with a single word or phrase."
    _train(folder, "train.jsonl", "train", [talk(f"What is it?{ending}", "soup")] * rows)
    questions = [
        {"image": _test_image(folder, i), "question": f"What is thing {i}?", "question_id": i}
        for i in range(rows)
    ]
    write_lines(folder / "vizwiz_val.jsonl", questions)
    answers = [{"answer": text} for text in ["soup"] * 4 + ["tin"] * 5 + [""]]
    annotations = [{"question_id": i, "answers": answers} for i in range(rows)]
    (folder / "vizwiz_val_annotations.json").write_text(json.dumps({"annotations": annotations}))


def _persons(folder: Path, rows: int) -> None:
    ending = "\nAnswer the question with a single word or phrase."
    _train(folder, "train.jsonl", "images", [talk(f"Who is left?{ending}", "Ann Lee")] * rows)
    questions = [
        {
            "image": _test_image(folder, i),
            "question": "Who is left?",
            "question_id": f"q{i}",
            "answer": ["Ann Lee", "Lee"],
        }
        for i in range(rows)
    ]
    write_lines(folder / "test.jsonl", questions)
