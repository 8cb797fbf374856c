"""Answers of a prediction that is not finished, as parts beside the file that it will become.

A killed job that starts again reads them and answers the rest. Snakemake removes the output of a
failed job, so parts lie in a folder of their own, ``.NAME.parts``. Several jobs can fill it at a
time, each with its shard of the batches; the job that makes the file answers what is left.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, distributed
from stages.core.base.errors import InputError
from stages.core.base.stopping import Stopped

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS = 60  # between two parts of a process: what a killed job answers again


@dataclass(frozen=True)
class Shard:
    """One of several jobs that divide a task's batches."""

    number: int = 1
    count: int = 1

    @classmethod
    def of(cls, text: str) -> Shard:
        """From ``2/4``, the second of four.

        Raises:
            InputError: another form, or a number beyond the count.
        """
        found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
        if not found or int(found[1]) > int(found[2]):
            raise InputError(f"--shard {text!r}: give number/count, such as 2/4.")
        return cls(int(found[1]), int(found[2]))

    @property
    def share(self) -> slice:
        """The job's among all batches."""
        return slice(self.number - 1, None, self.count)


WHOLE = Shard()


class Parts:
    """The answers that are there, by expert set and sample, and those that wait to be written.

    Every process reads all parts and writes its own; what waits is also written when the block of
    ``with`` ends in an error.
    """

    def __init__(
        self,
        out: Path,
        fingerprint: dict[str, Any],
        told: Sequence[int] = (),
        shard: Shard = WHOLE,
    ) -> None:
        """Read the parts of ``out``; delete those of other inputs, settings or code.

        Args:
            fingerprint: what identifies the run; every part holds it.
            told: where the signals that tell the job to stop arrive.
            shard: the batches that are this job's.
        """
        self.out, self.told, self.shard = out, told, shard
        self.folder = out.with_name(f".{out.name}.parts")
        self.fingerprint = fingerprint
        if distributed.is_first():
            self._delete_others()
        distributed.wait()
        files = self._files()
        self.count = len(files)
        self.texts: dict[tuple[str, ...], dict[str, str]] = {}
        for file in files:
            for row in artifacts.read_table("predictions", file).to_pylist():
                self.known(row["experts"])[row["sample_id"]] = row["text"]
        distributed.wait()  # nobody writes before all have read
        self.waiting: list[dict[str, Any]] = []
        self.written = time.monotonic()

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.write()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def _delete_others(self) -> None:
        for file in self._files():
            if not self._is_mine(file):
                print(f"{file}: made from other inputs, settings or code; deleted.", flush=True)
                file.unlink(missing_ok=True)  # another shard's job may have been faster

    def _is_mine(self, file: Path) -> bool:
        """Whether a part is whole and of this run."""
        try:
            found = artifacts.metadata(file)
        except InputError:  # cut off when its machine went down
            return False
        return found["provenance"] == json.loads(json.dumps(self.fingerprint))

    def known(self, experts: Iterable[str]) -> dict[str, str]:
        """The texts that an expert set has answered, by sample id."""
        return self.texts.setdefault(tuple(experts), {})

    def left(self, experts: Iterable[str], ids: Iterable[str]) -> list[str]:
        """The samples that an expert set has not answered."""
        known = self.known(experts)
        return [name for name in ids if name not in known]

    def keeper(self, experts: Iterable[str], bar: tqdm) -> Callable[[dict[str, str]], None]:
        """Takes an expert set's answers to a batch; now and then they become a part.

        It raises ``Stopped`` if the job was told to stop.
        """
        names = list(experts)

        def keep(texts: dict[str, str]) -> None:
            rows = [{"sample_id": i, "experts": names, "text": text} for i, text in texts.items()]
            self.waiting += rows
            bar.update(len(rows))
            if self.told:
                raise Stopped(
                    f"{self.out}: the answers so far are kept in {self.folder}. Start the job "
                    "again, and it goes on after them."
                )
            if time.monotonic() - self.written >= SECONDS:
                self.write()

        return keep

    def write(self) -> None:
        """Write what waits as a part."""
        if self.waiting:
            name = f"{self.count:06d}-{self.shard.number}-{distributed.rank()}.parquet"
            file = self.folder / name
            artifacts.write_table("predictions", file, self.waiting, provenance=self.fingerprint)
            self.count += 1
        self.waiting, self.written = [], time.monotonic()

    def finish(self, done: Path) -> None:
        """Write what waits and make the empty file that says that a shard's answers are there."""
        self.write()
        distributed.wait()
        if distributed.is_first():
            done.touch()

    def remove(self) -> None:
        """Delete all parts, once the whole file is there."""
        shutil.rmtree(self.folder, ignore_errors=True)
