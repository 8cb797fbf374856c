"""What asking a finished model costs with few and with many experts: seconds and memory.

python tests/benchmarks/bench_asking.py [RUN [COUNT ...]]

Exports the D-MoLE run of RUN (results/demo), repeats its experts and routers until there are COUNT
(1, 4, 50) of them, and asks each export in a process of its own: the same question again and again,
then for one token of every expert in turn. Prints a table. Then asks every method of RUN a hundred
of its test questions, and says how many answers are those of the run.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stages.core.base import artifacts
from stages.core.base.provenance import file_hash
from stages.core.base.reading import read_weights
from stages.core.experts import saved
from stages.core.model.continual import ContinualModel
from stages.core.model.exported import EXPERTS, NOTES, ROUTERS
from stages.core.model.questions import question_row
from stages.core.runs.find_run import find_run
from stages.core.runs.run_sheet import RunSheet
from stages.tools.export import export

AGAIN = 2  # answers after the first
QUESTIONS = 100
WORD = {"max_new_tokens": 1, "min_new_tokens": 1}
ALL = "--keep-all"


def repeated(source: Path, count: int, out: Path) -> None:
    """An export with this many experts, made of those of another."""
    notes = json.loads((source / NOTES).read_text())
    weights, old = read_weights(source / ROUTERS)[0], notes["tasks"]
    names = [f"{old[i % len(old)]}_{i}" for i in range(count)]
    tensors = {}
    for i, name in enumerate(names):
        task = old[i % len(old)]
        shutil.copytree(source / EXPERTS / task, out / EXPERTS / name)
        notes["limits"][name] = notes["limits"][task]
        notes["routers"][name] = notes["routers"][task] | {"parent": None}
        tensors |= {
            f"{name}.{key.removeprefix(f'{task}.')}": value.clone()
            for key, value in weights.items()
            if key.startswith(f"{task}.")
        }
    artifacts.write_weights(out / ROUTERS, tensors, provenance={})
    notes |= {key: {name: notes[key][name] for name in names} for key in ("limits", "routers")}
    notes |= {"tasks": names, "experts": names}
    files = [file for file in sorted(out.rglob("*")) if file.is_file()]
    notes["files"] = {str(file.relative_to(out)): file_hash(file) for file in files}
    artifacts.write_json("model", out / NOTES, notes)


def timed(work: Callable[[], Any]) -> tuple[Any, list[float]]:
    """What some work gives, and its seconds: on the clock, of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = work()
    return made, [time.perf_counter() - wall, time.process_time() - cpu]


def held() -> float:
    """MiB of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def ask(folder: Path, image: Path, question: str) -> dict[str, Any]:
    """Seconds and memory of one process that asks an export."""
    model, load = timed(lambda: ContinualModel.load(folder))
    first = timed(lambda: model.ask(image, question))[1]
    rest = timed(lambda: [model.ask(image, question) for _ in range(AGAIN)])[1]
    before, tasks = held(), model.source.tasks
    row = question_row(image, question, "1", model.source.config["max_pixels"])
    every = timed(lambda: [model.answers_of([row], [[task]], [None], WORD) for task in tasks])[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": [
            load,
            first,
            [second / AGAIN for second in rest],
            [second / len(tasks) for second in every],
        ],
        "memory": [before, held(), peak],
    }


def measured(root: Path, counts: list[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What :func:`ask` says with so many experts; of many also with all of them kept."""
    sheet, run = find_run(root, "dmole")
    rows = artifacts.read_table("data", run.file("test_rows", run.tasks[0])).to_pylist()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        image = place / "image"
        image.write_bytes(rows[0]["images"][0]["bytes"])
        export(sheet, run, place / "whole")
        for count in counts:
            repeated(place / "whole", count, place / str(count))
            for flags in ([], [ALL])[: 1 if count <= saved.KEPT else 2]:
                words = [str(place / str(count)), str(image), rows[0]["turns"][0]["question"]]
                command = [sys.executable, __file__, "--child", *words, *flags]
                out = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                yield f"{count}{', all kept' * bool(flags)}", json.loads(out)


def same_answers(root: Path, name: str) -> tuple[int, int]:
    """Of test questions, an equal number from each task: how many were asked, and how many got the
    answer that the run's predictions have for the last step."""
    sheet, run = find_run(root, name)
    asked, expected = [], []
    for task in sheet.tasks:
        rows = artifacts.read_table("data", run.file("test_rows", task)).to_pylist()
        last = [("step", "=", len(sheet.tasks))]
        routes = artifacts.read_table("routes", run.file("routes", task), None, last).to_pylist()
        experts = {route["sample_id"]: tuple(route["experts"]) for route in routes}
        answers = artifacts.read_table("predictions", run.file("predictions", task)).to_pylist()
        texts = {(row["sample_id"], tuple(row["experts"])): row["text"] for row in answers}
        for row in rows[: QUESTIONS // len(sheet.tasks)]:
            question = row["turns"][0]["question"]
            asked.append((row["images"][0]["bytes"], question, task))
            expected.append(texts[row["sample_id"], experts[row["sample_id"]]])
    found = ContinualModel.load(root, method=name).ask_many(asked)
    same = sum(a.text == text for a, text in zip(found, expected, strict=True))
    return len(asked), same


def main() -> None:
    """One line per number of experts."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "results/demo")
    if not root.is_dir():
        print(f"{root}: not there; make demo makes it.")
        return
    print("Seconds (CPU seconds), and MiB of memory\n")
    heads = ["experts", "load", "first answer", "next answers", "a token of each"]
    heads += ["held before the last", "held after", "peak"]
    print(f"| {' | '.join(heads)} |\n| --- |{' ---: |' * (len(heads) - 1)}")
    for name, found in measured(root, [int(word) for word in sys.argv[2:]] or [1, 4, 50]):
        cells = [f"{wall:.2f} ({cpu:.2f})" for wall, cpu in found["seconds"]]
        cells += [f"{megabytes:.0f}" for megabytes in found["memory"]]
        print(f"| {' | '.join([name, *cells])} |", flush=True)
    print()
    for name in RunSheet(root / "runs.json").config["methods"]:
        count, same = same_answers(root, name)
        print(f"{name}: {same} of {count} answers are those of the run", flush=True)


if __name__ == "__main__":
    if "--child" in sys.argv:
        if ALL in sys.argv:
            saved.KEPT = sys.maxsize
        print(json.dumps(ask(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])))
    else:
        main()
