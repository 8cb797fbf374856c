"""Start a GPU stage: as many processes as it was given GPUs, on GPUs that nobody else uses.

    python -m stages.core.base.launch 2 stages.train_expert --method dmole ...

With one that is ``python -m stages.train_expert ...`` (on the CPU where there is no GPU), with more
``torchrun``, on the CPU only where ``CUDA_VISIBLE_DEVICES`` is set and empty. On several nodes of a
SLURM job (``--nodes``) ``srun`` starts a torchrun each; the processes are divided evenly and find
each other at this node.

A SLURM job has the GPUs it asked for. Elsewhere, also in a SLURM job that runs many stages, each
stage takes free ones: a locked file per GPU says that it is in use, until the process ends, however
it ends.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from stages.core.base import cli
from stages.core.base.errors import InputError

LOCKS = Path(tempfile.gettempdir())
PAUSE = 2.0  # seconds between looks at GPUs that are all in use


def command(processes: int, module: str, arguments: Sequence[str]) -> list[str]:
    """The command line that runs a stage in so many processes."""
    if processes <= 1:
        return [sys.executable, "-m", module, *arguments]
    torchrun = ["stages.core.base.torchrun", "--standalone", f"--nproc-per-node={processes}"]
    return [sys.executable, "-m", *torchrun, "-m", module, *arguments]


def command_on_nodes(
    processes: int, nodes: int, cpus: int, module: str, arguments: Sequence[str]
) -> list[str]:
    """The command line that runs a stage in so many processes, on all nodes of this SLURM job.

    Args:
        cpus: of each node.

    Raises:
        InputError: no SLURM job, or processes that the nodes cannot share evenly.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        raise InputError(f"gpus.nodes {nodes}: needs a SLURM job; set it to 1 on a single machine.")
    if processes % nodes:
        raise InputError(
            f"{processes} GPUs asked for on {nodes} nodes: gpus.training must be a multiple of "
            "gpus.nodes."
        )
    host, port = socket.gethostname(), free_port()
    srun = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    srun += [f"--cpus-per-task={cpus}", "--cpu-bind=none", "--kill-on-bad-exit=1"]
    place = [f"--nnodes={nodes}", f"--nproc-per-node={processes // nodes}", f"--rdzv-id={job}"]
    place += ["--rdzv-backend=c10d", f"--rdzv-endpoint={host}:{port}"]
    torchrun = [sys.executable, "-m", "stages.core.base.torchrun", *place]
    return [*srun, *torchrun, "-m", module, *arguments]


def free_port() -> int:
    """A port of this host that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use: of ``CUDA_VISIBLE_DEVICES``, else all there are."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [name for name in told.split(",") if name]
    return sorted(str(int(p.name[6:])) for p in Path("/dev").glob("nvidia[0-9]*"))


def on_cpu(gpus: Sequence[str], count: int) -> bool:
    """Whether ``count`` processes run without GPUs: one where there is none, or as the user said.

    Raises:
        InputError: there are fewer GPUs.
    """
    if not gpus and (count == 1 or os.environ.get("CUDA_VISIBLE_DEVICES") == ""):
        return True
    if len(gpus) < count:
        raise InputError(
            f"{count} GPUs asked for, {len(gpus)} there ({', '.join(gpus) or 'none'}). Ask for "
            "fewer: key gpus.training of the configuration, or --set-resources RULE:gpu=N."
        )
    return False


def take(gpus: Sequence[str], count: int) -> list[str]:
    """Lock ``count`` of the GPUs, waiting until so many are free; the locks outlive ``exec``."""
    while True:
        taken: dict[str, int] = {}
        for gpu in gpus:
            if len(taken) < count and (lock := _lock(gpu)) is not None:
                taken[gpu] = lock
        if len(taken) == count:
            for lock in taken.values():
                os.set_inheritable(lock, True)
            return list(taken)
        for lock in taken.values():  # all or none, or two stages could wait for each other
            os.close(lock)
        time.sleep(PAUSE)


def _lock(gpu: str) -> int | None:
    """The open locked file of a GPU, or None while another process has it."""
    job = os.environ.get("SLURM_JOB_ID", "")  # jobs of a node may each call their GPU 0
    path = LOCKS / f"cmit-gpu{job}-{gpu.replace('/', '_')}.lock"
    if not path.exists():  # another user's may be opened, but not with O_CREAT
        path.touch(mode=0o644)
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; does not return."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("processes", type=int, help="on all nodes together")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--cpus", type=int, default=1, help="of each of several nodes")
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args(argv)
    processes, module, arguments = args.processes, args.module, args.arguments
    if args.nodes > 1:
        line = command_on_nodes(processes, args.nodes, args.cpus, module, arguments)
        os.execvp(line[0], line)
    gpus = visible_gpus()
    its_own = "SLURM_JOB_ID" in os.environ and len(gpus) == processes
    if not on_cpu(gpus, processes) and not its_own:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(take(gpus, processes))
    line = command(processes, module, arguments)
    os.execv(line[0], line)


if __name__ == "__main__":
    cli.run(main)
