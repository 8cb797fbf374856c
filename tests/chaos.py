"""Kill a run again and again: what comes out is the same, byte by byte.

    python -m tests.chaos --kills 50 --seed 0

The tiny stream runs with six methods, first undisturbed. Then a fresh copy is started and all its
processes get SIGKILL at random moments, after each of which the same command runs again. A run
that ends before its next kill is compared with the undisturbed one, deleted, and begun anew.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tests.helpers.project import Project

METHODS = ["dmole", "seq_ft", "ewc", "dense_mole", "prog_lora_dynamic", "cram"]
RESULTS = Path("results/tiny")
AGAIN = ("--rerun-incomplete", "--nolock")


def main() -> None:
    """Command line; exit code 1 if an artefact differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="fewer, for a short run")
    args = parser.parse_args()
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        fresh = with_methods(Project.fresh(Path(folder) / "fresh"), args.methods)
        undisturbed = fresh.copy(Path(folder) / "undisturbed")
        begun = time.monotonic()
        finish(undisturbed)
        seconds = time.monotonic() - begun
        expected = undisturbed.digests(RESULTS)
        print(f"undisturbed: {len(expected)} files in {seconds:.0f} s", flush=True)
        victim = fresh.copy(Path(folder) / "victim")
        starting = seconds_of_a_dry_run(victim)
        for number in range(1, args.kills + 1):
            wait = moments.uniform(0, starting + 2 * seconds / args.kills)
            while not killed(victim, wait):
                compare(expected, victim.digests(RESULTS))
                shutil.rmtree(victim.folder / RESULTS)
            print(f"kill {number} of {args.kills} after {wait:.1f} s", flush=True)
        finish(victim)
        compare(expected, victim.digests(RESULTS))


def with_methods(project: Project, methods: list[str]) -> Project:
    """The project with these methods in its configuration."""
    file = project.folder / project.config
    config = yaml.safe_load(file.read_text()) | {"methods": methods, "variants": {}}
    file.write_text(yaml.safe_dump(config))
    return project


def seconds_of_a_dry_run(project: Project) -> float:
    """What Snakemake needs before its first job."""
    begun = time.monotonic()
    project.plan()
    return time.monotonic() - begun


def finish(project: Project) -> None:
    """Run to the end."""
    done = project.snakemake(*AGAIN, "--show-failed-logs", timeout=7200)
    if done.returncode:
        sys.exit(f"the run failed:\n{done.stdout}{done.stderr}")


def killed(project: Project, seconds: float) -> bool:
    """Start the run and kill its processes after so many seconds; False if it ended before."""
    log = project.folder / "killed.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*project.command, *AGAIN, "--show-failed-logs"],
            cwd=project.folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
    if process.returncode:
        sys.exit(f"a run after a kill failed:\n{log.read_text()}")
    return False


def compare(expected: dict[str, str], found: dict[str, str]) -> None:
    """Stop at artefacts that differ, are missing, or should not be there."""
    wrong = sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )
    if wrong:
        sys.exit(f"{len(wrong)} of {len(expected)} files differ: {', '.join(wrong)}")
    print(f"all {len(expected)} files are the same", flush=True)


if __name__ == "__main__":
    main()
