"""A stage of ``gpu_stages`` to whose processes a signal comes while it works.

    python -m stages.core.base.launch 2 tests.helpers.told_to_stop train last SIGUSR1 INPUTS OUTPUTS

The signal goes to the ``last`` process alone, or to the ``launcher`` of all; the training is in its
thirteenth step then, a prediction in its second batch. A file ``told`` in OUTPUTS says when.
"""

import os
import signal
import sys
import time
from pathlib import Path

from stages.core.backbone import decoding
from stages.core.base import cli, distributed
from stages.core.training import trainer
from tests.helpers import gpu_stages


def told(who: str, name: str, out: Path) -> None:
    """Send the signal; a launcher takes a moment to pass it on."""
    (out / "told").touch()
    if who == "last" and distributed.rank() == distributed.size() - 1:
        os.kill(os.getpid(), signal.Signals[name])
    if who == "launcher" and distributed.is_first():
        os.kill(os.getppid(), signal.Signals[name])
        time.sleep(3)


def main(argv: object = None) -> None:
    """Command line."""
    work, who, name, *folders = sys.argv[1:]
    loss, generate, calls = trainer.ExpertTrainer.compute_loss, decoding.generate, []

    def compute_loss(self, *args, **kwargs):
        if self.state.global_step == 12 and not calls:
            calls.append(told(who, name, Path(folders[1])))
        return loss(self, *args, **kwargs)

    def counted(*args):
        calls.append(None)
        if len(calls) == 2:
            told(who, name, Path(folders[1]))
        return generate(*args)

    trainer.ExpertTrainer.compute_loss, decoding.generate = compute_loss, counted
    getattr(gpu_stages, work)(*map(Path, folders))


if __name__ == "__main__":
    cli.run(main)
