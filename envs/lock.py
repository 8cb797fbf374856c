"""Write requirements.lock: the versions of requirements.txt with the hashes of their files.

    python envs/lock.py        (or: make lock)

pip chooses the files for the platform this runs on, Linux on x86-64 with Python 3.11; elsewhere
install requirements.txt. torch is left out: its CUDA and its CPU build have one version and
different files, and the index decides between them.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
UNHASHED = ("torch",)
HEAD = "# Made by `make lock`, for Linux on x86-64 with Python 3.11: requirements.txt less torch.\n"


def chosen(requirements: str) -> list[dict]:
    """What pip would install, with the hash of each file."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder, "wanted.txt"), Path(folder, "report.json")
        wanted.write_text(requirements)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps"]
        subprocess.run(
            [*pip, "--ignore-installed", "--report", str(report), "-r", str(wanted)], check=True
        )
        return json.loads(report.read_text())["install"]


def main() -> None:
    """Write the lock beside this file."""
    pinned = [line for line in (HERE / "requirements.txt").read_text().splitlines() if "==" in line]
    hashed = [line for line in pinned if line.partition("==")[0] not in UNHASHED]
    lines = {}
    for item in chosen("\n".join(hashed)):
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        lines[name] = f"{name}=={item['metadata']['version']} --hash=sha256:{digest}"
    (HERE / "requirements.lock").write_text(HEAD + "".join(f"{lines[n]}\n" for n in sorted(lines)))


if __name__ == "__main__":
    main()
