"""Other benchmarks' data, five made-up rows of every task, in the layouts of their authors.

The trees lie below a data root as ``data_manifests/{stream}`` names them. What is known of the
layouts, and from where, stands in each manifest under ``source.verified``.
"""

import json
from pathlib import Path

import yaml

from tests.helpers.cmit_tree import SIZE, write_image

MANIFESTS = Path(__file__).parents[2] / "data_manifests"
STREAMS = ("coin", "ucit", "mllm_dcl", "mllm_acl", "trigap", "vqa_cl")
ROWS = 5
SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."
LETTERED = "Which one?\nA. cat\nB. dog\nC. cow" + LETTER
BOX = "Please provide the bounding box coordinate of the region this sentence describes: hat."
CAPTION = "What is happening in the image?\nGenerate a brief caption for the image."
WORDS = ["red", "two", "cat", "yes", "Ann Lee"]
LETTERS = ["A", "B", "C", "A", "B"]
ASKED = {  # (stream, task): question and the five answers; others are _OTHERS
    ("coin", "scienceqa"): (LETTERED, LETTERS),
    ("coin", "grounding"): (BOX, [f"[0.25,0.40,0.{70 + i},0.65]" for i in range(ROWS)]),
    ("coin", "gqa"): ("Which colour?" + SHORT, ["red", "blue", "yes", "no", "left"]),
    ("ucit", "arxivqa"): (
        "What follows?\nA. It is flat.\nB. It rises.\nC. It falls. Rationale: none." + LETTER,
        LETTERS,
    ),
    ("ucit", "iconqa"): ("How many triangles are there?" + SHORT, ["3", "1", "2", "0", "10"]),
    ("ucit", "vizwiz_caption"): (CAPTION, [f"A plain picture number {i}." for i in range(ROWS)]),
    ("ucit", "flickr30k"): (CAPTION, [f"A plain picture number {i}." for i in range(ROWS)]),
    ("ucit", "clevr_math"): ("How many are left?" + SHORT, ["0", "1", "2", "3", "10"]),
    ("mllm_dcl", "fin"): ("Does it rise? A: yes, B: no, C: it stays", ["Yes", "A", "No", "B", "C"]),
    ("mllm_dcl", "ad"): ("What comes?", ["a car", "Turn left.", "yes", "2", "The bus ahead."]),
    ("mllm_dcl", "sci"): ("Which states are dark?", ["Ohio", "Utah,Ohio", "B", "leaf", "yes"]),
    ("mllm_acl", "math"): ("Choose.\nChoices:\n(A) 4\n(B) 5\n(C) 6", ["A", "B", "C", "A", "B"]),
    ("mllm_acl", "vp"): ("How many?\n(A) 1\n(B) 2\n(C) 3", ["(A)", "(B)", "(C)", "(A)", "(B)"]),
    ("trigap", "pmcvqa"): ("Which one? A: cat, B: dog, C: cow" + LETTER, LETTERS),
    ("trigap", "iconqa"): ("How many shapes are orange?" + SHORT, ["3", "1", "2", "0", "10"]),
    ("trigap", "arxivqa"): (LETTERED, LETTERS),
    ("vqa_cl", "scienceqa"): (LETTERED, LETTERS),
}
_OTHERS = ("What is it?" + SHORT, WORDS)


def tasks(stream: str) -> list[str]:
    """The stream's tasks in the order of its configuration."""
    config = MANIFESTS.parent / f"workflow/config/{stream}.yaml"
    return yaml.safe_load(config.read_text())["tasks"]


def write_stream(root: Path, stream: str) -> None:
    """All tasks of one stream below ``root``."""
    for task in tasks(stream):
        _write(root, stream, yaml.safe_load((MANIFESTS / stream / f"{task}.yaml").read_text()))


def _write(root: Path, stream: str, manifest: dict) -> None:
    task = manifest["name"]
    question, answers = ASKED.get((stream, task), _OTHERS)
    for split in ("train", "test"):
        entry = manifest[split]
        rows = []
        for i, answer in enumerate(answers):
            image = f"{task}/{split}/{_prefix(task, i)}{i}.png"
            write_image(root / entry["images"] / image, i)
            talks = split == "train" or stream == "vqa_cl"
            row = {"image": f"./{image}"}
            row |= _talk(i, stream, question, answer) if talks else _asked(i, question, answer)
            rows.append(row)
        if split == "test":
            _change(root, stream, task, rows, entry)
        if task == "scienceqa":
            _without_image(rows[-1])
        _save(root / entry["file"], rows)


def _prefix(task: str, i: int) -> str:
    """Diagrams of four sources and a map: their names decide how answers are scored."""
    return ("AI2D_", "map_", "TQA_", "VQA_", "SciVerse_")[i] if task == "sci" else "im_"


def _talk(i: int, stream: str, question: str, answer: str) -> dict:
    turns = [("human", f"<image>\n{question}"), ("gpt", answer)]
    said = {"conversations": [{"from": who, "value": text} for who, text in turns]}
    return said if stream == "vqa_cl" else {"id": f"{i}", **said}


def _asked(i: int, question: str, answer: str) -> dict:
    return {"question_id": f"q{i}", "text": question, "answer": answer}


def _without_image(row: dict) -> None:
    row.pop("image")
    for turn in row.get("conversations", []):
        turn["value"] = turn["value"].removeprefix("<image>\n")


def _change(root: Path, stream: str, task: str, rows: list[dict], entry: dict) -> None:
    """What single test files have otherwise: boxes, lists, answers in a second file."""
    if task == "grounding":
        for row in rows:
            row |= {"answer_bbox": row.pop("answer"), "size": list(SIZE)}
    if task == "ocr":
        for row in rows:
            row |= {"answer": [row["answer"], "other"], "answer_type": "Scene Text-centric VQA"}
    if "annotations" in entry:
        given = [row.pop("answer") for row in rows]
        _save(root / entry["annotations"], _second(stream, task, rows, given))


def _second(stream: str, task: str, rows: list[dict], given: list[str]) -> object:
    ids = [row["question_id"] for row in rows]
    if task == "gqa":
        return {key: {"answer": answer} for key, answer in zip(ids, given, strict=True)}
    if task == "textvqa":
        pairs = zip(ids, given, strict=True)
        return {"data": [{"question_id": key, "answers": [answer] * 10} for key, answer in pairs]}
    if stream == "ucit":
        files = [Path(row["image"]).name for row in rows]
        return {
            "images": [{"id": i, "file_name": name} for i, name in enumerate(files, start=1)],
            "annotations": [
                {"id": 2 * i + k, "image_id": i, "caption": caption if k else f"Caption {i}."}
                for i, caption in enumerate(given, start=1)
                for k in (0, 1)
            ],
        }
    return [{"question_id": key, "answer": a} for key, a in zip(ids, given, strict=True)]


def _save(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
