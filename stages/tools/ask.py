"""Ask a finished model about images: the answer, who gave it, and why.

Reads   the results of a run (or a folder of `cmit export`) and its backbone
Writes  to the terminal

    cmit ask results/demo photo.jpg "What is written on the sign?"
    cmit ask results/demo --method seq_ft --all-steps a.png "What is it?" b.png "And this?"
    cmit ask results/demo --json - < questions.jsonl

A line of the latter is {"image": "photo.jpg", "question": "What is it?"}, and may have a "task".
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import cli
from stages.core.base.errors import InputError, unknown

if TYPE_CHECKING:
    from stages.core.model.continual import Answer, ContinualModel

Asked = tuple[str, str, str | None]  # image, question, task
FIELDS = ("image", "question", "task")


def from_pairs(words: Sequence[str], task: str | None) -> list[Asked]:
    """Questions from the words of a command line.

    Raises:
        InputError: an image without question.
    """
    if len(words) % 2:
        raise InputError(f'{words[-1]}: no question; give pairs, IMAGE "QUESTION".')
    return [(image, text, task) for image, text in zip(words[::2], words[1::2], strict=True)]


def from_lines(lines: Iterable[str], task: str | None) -> list[Asked]:
    """Questions from JSON lines; empty lines do not count.

    Raises:
        InputError: no question at all, or a line that is no object with image and question; its
            number is named.
    """
    found = []
    for number, line in enumerate(lines, 1):
        where = f"standard input, line {number}"
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not valid JSON: {error}.") from None
        if not isinstance(entry, dict):
            raise InputError(f"{where}: expected an object, found {type(entry).__name__}.")
        for key in entry:
            if key not in FIELDS:
                raise unknown("key", key, FIELDS, where)
        for key in FIELDS[:2]:
            if not isinstance(entry.get(key), str):
                raise InputError(f"{where}: {key}: expected text, found {entry.get(key)!r}.")
        found.append((entry["image"], entry["question"], entry.get("task", task)))
    if not found:
        raise InputError("standard input: no question; give one line of JSON each.")
    return found


def answers(
    model: ContinualModel, asked: Sequence[Asked], all_steps: bool
) -> Iterator[tuple[Asked, int | None, Answer]]:
    """Every question with its answer after the model's step, or after each of its steps."""
    if not all_steps:
        for question, answer in zip(asked, model.ask_many(asked), strict=True):
            yield question, model.step, answer
        return
    found: dict[int, dict[int, Answer]] = {number: {} for number in range(len(asked))}
    for step in range(len(model.source.tasks) + 1):
        here = [i for i, one in enumerate(asked) if step in model.source.steps(one[2])]
        given = model.at(step).ask_many([asked[i] for i in here]) if here else []
        for i, answer in zip(here, given, strict=True):
            found[i][step] = answer
    for i, steps in found.items():
        yield from ((asked[i], step, answer) for step, answer in steps.items())


def why(model: ContinualModel, answer: Answer) -> str:
    """One sentence on who answers."""
    if model.source.routed and answer.ratios:
        return _routed(model, answer)
    if not answer.experts:
        return "the untouched backbone"
    names = ", ".join(answer.experts)
    if model.source.method.knows_task:
        return f"{names}: what {model.source.run} keeps for the task that was told"
    return f"{names}: {model.source.run} answers every question of a step with the same state"


def _routed(model: ContinualModel, answer: Answer) -> str:
    ratios = sorted(answer.ratios.items(), key=lambda item: item[1])
    told = ", ".join(f"{task} {ratio:.3g}" for task, ratio in ratios)
    if not answer.experts:
        return f"the backbone alone: no loss is within its threshold (loss / threshold: {told})"
    second = "its parent" if model.source.uses_parents else "the next within its threshold"
    first, *others = answer.experts
    beside = "".join(f", beside it {name}, {second}" for name in others)
    return f"{first} has the lowest loss within its threshold{beside} (loss / threshold: {told})"


def as_json(model: ContinualModel, asked: Asked, step: int | None, answer: Answer) -> str:
    """One line of JSON."""
    entry: dict[str, Any] = dict(zip(FIELDS, asked, strict=True))
    entry["step"] = len(model.source.tasks) if step is None else step
    entry |= {"answer": answer.text, "experts": answer.experts, "ratios": answer.ratios}
    return json.dumps(entry, ensure_ascii=False)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", metavar="RUN", help="results of a run, or an exported folder")
    parser.add_argument(
        "pairs", nargs="+", metavar='IMAGE "QUESTION"', help="or - for JSON lines on standard input"
    )
    parser.add_argument("--method", help="method or variant (default, the run's first)")
    parser.add_argument("--seed", type=int, help="default, the first of the run")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--step", type=int, help="after so many tasks (default, all)")
    when.add_argument("--all-steps", action="store_true", help="after each number of tasks")
    parser.add_argument("--task", help="task of the questions, where it is known")
    parser.add_argument("--backbone", help="its folder, where the run's is no longer there")
    parser.add_argument("--json", action="store_true", help="one line of JSON per answer")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = _parse(argv)
    lines = args.pairs == ["-"]
    asked = from_lines(sys.stdin, args.task) if lines else from_pairs(args.pairs, args.task)

    from stages.core.model.exported import find_source

    source = find_source(Path(args.run), args.method, args.seed)
    for step in range(len(source.tasks) + 1) if args.all_steps else [args.step]:
        source.check(step)
    for task in source.rows(asked)[1]:  # what is wrong is told before the backbone is loaded
        source.steps(task)

    from stages.core.model.continual import ContinualModel

    model = ContinualModel.of(source, args.step, backbone=args.backbone)
    before = None
    for question, step, answer in answers(model, asked, args.all_steps):
        if args.json:
            print(as_json(model, question, step, answer), flush=True)
            continue
        if question is not before:
            print(f"{question[0]}: {question[1]}")
        place = f"after step {step}" if args.all_steps else "answer"
        print(f"  {place}: {cli.printable(answer.text)}\n      {why(model, answer)}", flush=True)
        before = question


if __name__ == "__main__":
    cli.run(main)
