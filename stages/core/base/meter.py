"""Measure time and peak memory of named blocks, on a CPU (Linux) or a GPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Steps:
    """Measures named steps; each becomes a dict in ``done``."""

    def __init__(self, device: Any) -> None:
        self.cuda, self.done = device.type == "cuda", []

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Seconds, seconds of computing and peak memory of the block; it may set ``seconds``."""
        entry: dict[str, Any] = {"step": name}
        self._reset()
        start, computing = self.now(), time.process_time()
        yield entry
        entry.setdefault("seconds", self.now() - start)
        entry["cpu_seconds"] = time.process_time() - computing
        self.done.append(entry | {"peak_bytes": self._peak()})

    def now(self) -> float:
        """The time once all work on the GPU is done."""
        if self.cuda:
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    def _reset(self) -> None:
        if self.cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew

    def _peak(self) -> int:
        if self.cuda:
            import torch

            return torch.cuda.max_memory_allocated()
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
