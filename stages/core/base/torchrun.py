"""``torchrun`` for stages that are told to stop (``core.base.stopping``).

    python -m stages.core.base.torchrun --nproc-per-node=2 -m stages.train_expert ...

Also passes SIGUSR1 on, gives the processes time to save, and ends with their exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

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
        raise


if __name__ == "__main__":
    main()
