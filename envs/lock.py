"""Write requirements.lock: the versions of requirements.txt with the hashes of their files.

    python envs/lock.py        (or: make lock)

The files are those that pip chooses with Python 3.11 on Linux, for x86-64 and for aarch64. torch
is left out: its CUDA and its CPU build have one version and different files, and the index decides
between them.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
UNHASHED = ("torch",)
MACHINES = ("x86_64", "aarch64")
GLIBC = [f"manylinux_2_{minor}" for minor in range(28, 4, -1)]
HEAD = "# Made by `make lock`, for Linux and Python 3.11: requirements.txt less torch.\n"


def chosen(requirements: str, machine: str) -> list[dict]:
    """What pip would install on a machine, with the hash of each file."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder, "wanted.txt"), Path(folder, "report.json")
        wanted.write_text(requirements)
        platforms = [f"--platform={glibc}_{machine}" for glibc in (*GLIBC, "manylinux2014")]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps"]
            + ["--ignore-installed", "--python-version=3.11", f"--target={folder}", *platforms]
            + ["--report", str(report), "-r", str(wanted)],
            check=True,
        )
        return json.loads(report.read_text())["install"]


def main() -> None:
    """Write the lock beside this file."""
    pinned = [line for line in (HERE / "requirements.txt").read_text().splitlines() if "==" in line]
    hashed = [line for line in pinned if line.partition("==")[0] not in UNHASHED]
    digests: dict[str, set[str]] = defaultdict(set)
    for machine in MACHINES:
        for item in chosen("\n".join(hashed), machine):
            name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
            digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
            digests[f"{name}=={item['metadata']['version']}"].add(f"--hash=sha256:{digest}")
    lines = [f"{package} {' '.join(sorted(digests[package]))}\n" for package in sorted(digests)]
    (HERE / "requirements.lock").write_text(HEAD + "".join(lines))


if __name__ == "__main__":
    main()
