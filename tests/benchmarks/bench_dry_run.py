"""How long a dry run takes, how much memory, and how long the longest command line is.

    python tests/benchmarks/bench_dry_run.py

Two configurations: compare.yaml, and a made stream of 100 tasks with 10 methods and 3 seeds (the
tiny manifest a hundred times). Seconds are wall-clock and CPU; memory is the peak resident set.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
METHODS = ["dmole", "seq_ft", "individual", "replay", "lwf", "ewc", "o_lora", "dense_mole"]
METHODS += ["mola", "zero_shot"]
LIMIT = 100_000  # characters of a command line


def made_stream(folder: Path, tasks: int, seeds: int) -> Path:
    """A configuration of so many copies of a tiny task."""
    manifest = yaml.safe_load((ROOT / "tests/data/tiny/tiny_choice.yaml").read_text())
    names = [f"task{number:03}" for number in range(tasks)]
    for name in names:
        root = str(ROOT / "tests/data/tiny")
        content = manifest | {"name": name, "root": root}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    config = yaml.safe_load((ROOT / "workflow/config/tiny.yaml").read_text())
    config |= {"manifests": str(folder), "tasks": names, "seeds": list(range(seeds))}
    config |= {"methods": METHODS, "variants": {}, "stream": "made"}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def measure(name: str, config: Path, folder: Path) -> None:
    """Run it dry and print a line."""
    command = [sys.executable, "-m", "snakemake", "-n", "-p", "--cores", "1"]
    command += ["-s", str(ROOT / "Snakefile"), "--configfile", str(config)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = done.stdout + done.stderr
    if done.returncode:
        raise SystemExit(text[-2000:])
    commands = [line for line in text.splitlines() if "python -m stages." in line]
    total = next(line.split()[1] for line in text.splitlines() if line.startswith("total "))
    longest = max(map(len, commands))
    print(
        f"{name}: {total} jobs, {seconds:.1f} s, {used.ru_utime - before.ru_utime:.1f} CPU s, "
        f"{used.ru_maxrss / 1024:.0f} MiB, longest command {longest:,} characters"
    )
    if longest > LIMIT:
        raise SystemExit(f"a command line of {longest} characters; at most {LIMIT}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure("compare.yaml", ROOT / "workflow/config/compare.yaml", folder)
        stream = made_stream(folder, args.tasks, args.seeds)
        measure(f"{args.tasks} tasks, {len(METHODS)} methods, {args.seeds} seeds", stream, folder)


if __name__ == "__main__":
    main()
