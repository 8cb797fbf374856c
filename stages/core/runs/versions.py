"""Which artefacts were made with other versions of the libraries that compute them."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from stages.core.base.errors import InputError
from stages.core.runs.adoption import read_record
from stages.core.runs.run_jobs import run_jobs
from stages.core.runs.runs import Runs
from stages.core.runs.stage_table import STAGES

LIBRARIES = ("torch", "transformers", "peft")


def other_versions(runs: Runs, root: Path) -> dict[str, Counter[str]]:
    """By library and version, such as ``torch 2.12.0``: how many artefacts of each rule were made
    with it. Only stages that load the backbone are looked at; what cannot be read is left out.

    Args:
        root: the stream's folder.
    """
    found: dict[str, Counter[str]] = defaultdict(Counter)
    now = {name: metadata.version(name) for name in LIBRARIES}
    for job in run_jobs(runs):
        file = root / job.outputs[0]
        if not STAGES[job.stage].backbone or not file.exists():
            continue
        with suppress(InputError, KeyError, TypeError):
            made_with = read_record(file)["versions"]
            for name in LIBRARIES:
                if _plain(made_with[name]) != _plain(now[name]):
                    found[f"{name} {made_with[name]}"][job.rule] += 1
    return found


def _plain(version: str) -> str:
    """Without the build (``2.13.0+cpu``), which the lock leaves to the machine."""
    return version.partition("+")[0]


def told(found: dict[str, Counter[str]]) -> str:
    """What to say of it; empty where all is as it is now."""
    if not found:
        return ""
    lines = [
        f"  {version} (now {metadata.version(version.split()[0])}): "
        + ", ".join(f"{count} of {rule}" for rule, count in counts.items())
        for version, counts in found.items()
    ]
    rules = " ".join(sorted({rule for counts in found.values() for rule in counts}))
    return "\n".join(
        [
            "made with other versions of libraries, and kept:",
            *lines,
            f"to make them again: --forcerun {rules}",
        ]
    )
