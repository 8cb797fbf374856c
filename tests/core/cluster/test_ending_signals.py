"""Which signals end a run on SLURM as Ctrl-C does."""

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

PROGRAM = """
import time
from stages.core.cluster.signals import cancel_on_signals, ignore_signals
cancel_on_signals()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    ignore_signals()
    print("ended", flush=True)
    time.sleep(60)
"""


def start(hangup: Callable | signal.Handlers) -> subprocess.Popen[str]:
    """The program above, which hears Ctrl-C, and SIGHUP as told."""

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, hangup)

    command = [sys.executable, "-c", PROGRAM]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=prepare)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_all_three_end_a_run_which_then_is_not_disturbed(number: signal.Signals) -> None:
    with start(signal.SIG_DFL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "ended\n"
        for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(again)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
        process.kill()


def test_a_closed_terminal_changes_nothing_under_nohup() -> None:
    with start(signal.SIG_IGN) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
        process.kill()
