"""Failures of the disk: one line that says where and what to do, and nothing half-written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.base import artifacts, cli

FILL = """
import os, sys
from pathlib import Path
from stages.core.base import artifacts, cli

def main(argv=None):
    rows = [{"sample_id": "s", "experts": [], "text": os.urandom(32).hex()} for _ in range(20_000)]
    artifacts.write_table("predictions", Path(sys.argv[1]), rows)

cli.run(main)
"""


def test_a_full_disk(small_disk):
    kept = small_disk / "kept.parquet"
    row = {"sample_id": "s", "experts": [], "text": "x"}
    artifacts.write_table("predictions", kept, [row])
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(small_disk / "out" / "new.parquet")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "No space left on device: free some space and run again" in done.stderr
    assert artifacts.read_table("predictions", kept).to_pylist() == [row]
    assert list((small_disk / "out").iterdir()) == []


def test_a_folder_that_may_not_be_read(capsys):
    def main(argv):
        raise PermissionError(13, "Permission denied", "results/tiny/seed0")

    with pytest.raises(SystemExit) as ended:
        cli.run(main)
    assert ended.value.code == 1
    message = "error: results/tiny/seed0: Permission denied: check the owner and the permissions"
    assert capsys.readouterr().err.startswith(message)


def test_a_fault_of_ours_keeps_its_traceback():
    def main(argv):
        Path("/nowhere/at/all").read_text()

    with pytest.raises(FileNotFoundError):
        cli.run(main)


def test_a_terminal_is_not_steered() -> None:
    assert cli.printable("grün 木\n\x1b[31m\x06") == "grün 木\n\\x1b[31m\\x06"


@pytest.mark.parametrize(("said", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(said, used):
    """Known before torch is there, which reads it once."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": said} if said else {}
    code = "import os, sys, stages; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout.decode() == f"{used} False\n"
