"""The jobs of one run in SLURM's queue, found by their name, which is the run's."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import threading
import time
from collections.abc import Container, Sequence
from typing import Any

from stages.core.cluster.submission import waits_for

PATIENCE = 60.0  # seconds until a command that gets no answer is given up
TELL_AFTER = 600.0  # seconds after which a waiting job's reason is told
CANCEL_FOR = 60.0  # seconds in which the jobs are tried to be cancelled


class Queue:
    """What SLURM says of a run's jobs; ``stopped`` ends a question that waits for its answer."""

    def __init__(self, name: str, logger: Any, stopped: threading.Event) -> None:
        self.name = name
        self.logger = logger
        self.stopped = stopped
        self._silent_since: float | None = None
        self._pending: dict[str, float] = {}  # since when
        self._told: dict[str, str] = {}

    async def look(self) -> dict[str, tuple[str, str]] | None:
        """State and reason of all jobs that the controller knows; None if it does not answer."""
        code, output, error = await self._ask(*self._squeue("%i|%T|%r"))
        if code:
            if self._silent_since is None and not self.stopped.is_set():
                self._silent_since = time.monotonic()
                said = " ".join(error.split())
                self.logger.info(f"SLURM does not answer, its jobs go on meanwhile. {said}")
            return None
        if self._silent_since is not None:
            seconds = time.monotonic() - self._silent_since
            self.logger.info(f"SLURM answers again, after {seconds:.0f} s.")
            self._silent_since = None
        rows = [line.split("|", 2) for line in output.splitlines() if line.count("|") >= 2]
        return {number: (state, reason) for number, state, reason in rows}

    async def remembered(self, numbers: Sequence[str], accounting: bool) -> dict[str, str]:
        """States of jobs that the controller has forgotten, of the accounting database.

        ``UNKNOWN`` where there is none; a job that it does not know yet or cannot tell is left out.
        """
        if not accounting:
            return dict.fromkeys(numbers, "UNKNOWN")
        command = ["sacct", "--allocations", "--noheader", "--parsable2", "--format=JobIDRaw,State"]
        code, output, _ = await self._ask(*command, f"--jobs={','.join(numbers)}")
        rows = [line.split("|") for line in output.splitlines() if line.count("|") == 1]
        return {} if code else {number: state.split()[0] for number, state in rows if state}

    def taken(self, comment: str, known: Container[str]) -> str | None:
        """The id of a job with this comment that SLURM took though sbatch failed, None for none.

        Raises:
            OSError: it cannot say now.
        """
        command = self._squeue("%i|%k")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise TimeoutError("squeue: no answer") from None
        if done.returncode:
            raise OSError(done.stderr)
        lines = (line.partition("|") for line in done.stdout.splitlines())
        return next((i for i, _, said in lines if said == comment and i not in known), None)

    def cancel(self) -> None:
        """Cancel all jobs; where SLURM does not, say how to do it later."""
        command = ["scancel", f"--name={self.name}"]
        until, pause, error = time.monotonic() + CANCEL_FOR, 1.0, "no answer"
        while time.monotonic() < until:
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
                if not done.returncode:
                    return
                error = " ".join(done.stderr.split())
            except subprocess.TimeoutExpired:
                error = "no answer"
            time.sleep(pause)
            pause *= 2
        self.logger.error(
            f"SLURM did not cancel the jobs ({error}). When it answers: {' '.join(command)}"
        )

    def tell(self, label: str, number: str, state: str, reason: str) -> None:
        """Say once for each reason why a job has been waiting for so long."""
        if state != "PENDING":
            self._pending.pop(number, None)
            return
        waited = time.monotonic() - self._pending.setdefault(number, time.monotonic())
        if waited >= TELL_AFTER and reason and self._told.get(number) != reason:
            self._told[number] = reason
            self.logger.info(
                f"{label} (job {number}) has been waiting for {waited / 60:.0f} minutes. "
                f"{waits_for(reason)}."
            )

    def _squeue(self, fields: str) -> list[str]:
        return ["squeue", "--name", self.name, "--states=all", "--noheader", f"--format={fields}"]

    async def _ask(self, *command: str) -> tuple[int, str, str]:
        """Exit code, output and errors of a command; it fails where no answer comes in time."""
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error:
            process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=error)
            ended = asyncio.ensure_future(process.wait())
            until = time.monotonic() + PATIENCE
            while not ended.done() and time.monotonic() < until and not self.stopped.is_set():
                await asyncio.wait({ended}, timeout=0.5)
            if not ended.done():
                process.kill()
                await ended
                return 1, "", f"{command[0]}: no answer in {PATIENCE:.0f} s"
            for file in (output, error):
                file.seek(0)
            return process.returncode or 0, output.read().decode(), error.read().decode()
