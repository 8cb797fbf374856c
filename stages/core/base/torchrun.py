"""``torchrun`` for stages that are told to stop (``core.base.stopping``).

    python -m stages.core.base.torchrun --nproc-per-node=2 -m stages.train_expert ...

Also passes SIGUSR1 on, gives the processes time to save, and ends with their exit code. When one
dies, the others end within half a minute, and the last line says which it was.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from stages.core.base import stopping

SECONDS = 300  # for a step and its checkpoint, before SIGKILL
SIGNALS = ",".join(number.name for number in stopping.SIGNALS) + ",SIGINT,SIGHUP,SIGQUIT"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    arguments = sys.argv[1:] if argv is None else argv
    options = [f"--signals-to-handle={SIGNALS}", f"--shutdown-timeout={SECONDS}"]
    try:
        run.main([*options, *arguments])
    except SignalException as told:
        if told.sigval in stopping.SIGNALS:
            sys.exit(stopping.EXIT_CODE)
        raise
    except ChildFailedError as error:
        if stopping.EXIT_CODE in (failure.exitcode for failure in error.failures.values()):
            sys.exit(stopping.EXIT_CODE)
        print(f"error: {first_death(error.failures)}", file=sys.stderr, flush=True)
        sys.exit(1)


def first_death(failures: Mapping[int, Any]) -> str:
    """Which process of a job died first, and how.

    One that was killed comes before those that fail without it, and these before those that
    torchrun then ended with SIGTERM.

    Args:
        failures: torch's records by process.
    """

    def order(item: tuple[int, Any]) -> tuple[bool, bool, int]:
        ended = item[1].exitcode == -signal.SIGTERM
        return ended, item[1].exitcode > 0, item[1].timestamp

    rank, died = min(failures.items(), key=order)
    if died.exitcode > 0:
        return f"process {rank} of this job failed; what it said is above."
    name = signal.Signals(-died.exitcode).name
    memory = ", as when memory runs out" if name == "SIGKILL" else ""
    return f"process {rank} of this job was killed by {name}{memory}."


if __name__ == "__main__":
    main()
