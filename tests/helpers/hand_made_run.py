"""A run of two tasks written by hand: four answers to some samples, and what became of them."""

from pathlib import Path

from stages.core.base import artifacts

TASKS = ["first", "second"]
# sample of task "second": (experts, score, readable) after the steps 0, 1 and 2, whose own is 2;
# of task "first" after the same steps, whose own is 1
COURSES = {
    "first": {
        "stays": [([], 0, True), (["first"], 100, True), (["first"], 100, True)],
        "fades": [([], 0, True), (["first"], 100, True), (["second", "first"], 30, True)],
        "known": [([], 100, True), (["first"], 100, True), ([], 100, True)],
        "never": [([], 0, True), (["first"], 0, True), (["second"], 0, False)],
        "later": [([], 40, True), (["first"], 20, False), (["first"], 60, True)],
    },
    "second": {
        "alone": [([], 0, False), (["first"], 50, True), (["second"], 50, True)],
        "grown": [([], 0, False), (["first"], 10, True), (["second"], 50, True)],
    },
}


def text_of(sample: str, experts: list[str]) -> str:
    return f"{sample} by {'+'.join(experts) or 'nobody'}"


def write_run(root: Path, routed: bool = True) -> None:
    """A run of two tasks by hand, its files where its sheet says."""
    names = {"test_rows": "data", "routes": "routes", "predictions": "predictions"}
    names |= {"router": "routers"} if routed else {}
    scores = []
    for task, courses in COURSES.items():
        rows, routes, texts = [], [], {}
        for sample, steps in courses.items():
            turns = [{"question": f"Is it {sample}?\nSay so.", "answer": "yes"}]
            blank = dict.fromkeys(artifacts.DATA.names)
            rows.append(blank | {"sample_id": sample, "turns": turns, "references": ["yes", "aye"]})
            for step, (experts, score, parsed) in enumerate(steps):
                place = {"sample_id": sample, "step": step, "experts": experts}
                routes.append(place | {"best_task": None, "ratio": None, "n_under": None})
                texts[sample, tuple(experts)] = text_of(sample, experts)
                mine = {"run": "mine", "seed": 3, "task": task, "score": score, "parsed": parsed}
                other = mine | {"run": "other", "score": 100 - score, "parsed": not parsed}
                scores += [place | mine, place | other, place | other | {"run": "mine", "seed": 4}]
        answers = [
            {"sample_id": sample, "experts": list(experts), "text": text}
            for (sample, experts), text in texts.items()
        ]
        for name, table in (("data", rows), ("routes", routes), ("predictions", answers)):
            file = root / f"{name}/{task}.parquet"
            artifacts.write_table(name, file, table, task=task, provenance={})
    artifacts.write_table("sample_scores", root / "sample_scores.parquet", scores, provenance={})
    files = {name: {t: f"{folder}/{t}.parquet" for t in TASKS} for name, folder in names.items()}
    runs = [
        {"name": name, "method": "dmole", "seed": seed, "tasks": TASKS, "artefacts": files}
        for name, seed in (("mine", 3), ("mine", 4), ("other", 3))
    ]
    sheet = {"stream": "s", "root": ".", "tasks": TASKS, "config": {}, "runs": runs}
    artifacts.write_json("runs", root / "runs.json", {**sheet, "provenance": {}})
