"""Where the losses of a running training can be watched beside its log: TensorBoard and the like.

Nothing here decides what is learnt. A training that goes on from a checkpoint goes on in its run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from stages.core.base import distributed
from stages.core.base.errors import InputError

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
"""Values of ``training.report_to`` beside none, which are also the names of the packages."""

PROJECT, RUN_ID = "cmit", "run_id"


def check_installed(report_to: str) -> None:
    """Raises :class:`InputError` where the package is missing that a configuration asks for."""
    if report_to in TRACKERS and find_spec(report_to) is None:
        raise InputError(
            f"training.report_to: the package {report_to} is not installed: "
            f"pip install -c envs/requirements.txt {report_to}, or report to none."
        )


@dataclass(frozen=True)
class Tracking:
    """Reports one training."""

    report_to: str
    folder: Path  # what is written; not TrackIO's, which has a place of its own
    name: str

    @classmethod
    def of(cls, report_to: str, out: Path) -> Tracking:
        """Of the training that writes the expert ``out``: beside the experts, named by its path.

        Raises:
            InputError: the package is not installed.
        """
        check_installed(report_to)
        folder = out.absolute().parents[1] / "tracking" / out.name
        return cls(report_to, folder, "/".join(out.absolute().parts[-5:]))

    def begin(self, checkpoints: Path) -> dict[str, Any]:
        """Open the run of the training whose checkpoints are in this folder, a new one if there
        are none; returns arguments for ``transformers.TrainingArguments``."""
        if self.report_to == "none" or not distributed.is_first():
            return {"report_to": "none"}
        file = checkpoints / RUN_ID
        known = file.read_text() if file.is_file() else None
        run = getattr(self, f"_{self.report_to}")(known)
        checkpoints.mkdir(parents=True, exist_ok=True)
        file.write_text(run)
        return {
            "report_to": self.report_to,
            "run_name": f"{self.name}-{run[:8]}",
            "project": PROJECT,
        }

    def end(self) -> None:
        """Close the run, so that another phase can open its own."""
        if self.report_to == "wandb" and distributed.is_first():
            import wandb

            wandb.finish()
        if self.report_to == "mlflow" and distributed.is_first():
            import mlflow

            mlflow.end_run()

    def _tensorboard(self, known: str | None) -> str:
        run = known or uuid4().hex
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(self.folder / run[:8])
        return run

    def _trackio(self, known: str | None) -> str:
        return known or uuid4().hex  # it finds the run by its name

    def _wandb(self, known: str | None) -> str:
        import wandb

        run = known or uuid4().hex
        self.folder.mkdir(parents=True, exist_ok=True)
        mode = os.environ.get("WANDB_MODE", "offline")
        name = f"{self.name}-{run[:8]}"
        wandb.init(
            project=PROJECT, name=name, id=run, resume="allow", dir=str(self.folder), mode=mode
        )
        return run

    def _mlflow(self, known: str | None) -> str:
        import mlflow

        if not os.environ.get("MLFLOW_TRACKING_URI"):
            self.folder.mkdir(parents=True, exist_ok=True)
            mlflow.set_tracking_uri(f"sqlite:///{self.folder / 'mlflow.db'}")
        mlflow.set_experiment(PROJECT)
        return mlflow.start_run(run_id=known, run_name=self.name).info.run_id
