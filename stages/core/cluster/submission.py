"""What a submission asks for and what an answer of SLURM means; nothing here calls SLURM."""

from __future__ import annotations

import re
from pathlib import Path

# The controller is busy, restarts or cannot be reached.
BUSY = (
    "socket timed out",
    "unable to contact slurm controller",
    "connection refused",
    "connect failure",
    "communication connection failure",
    "zero bytes were transmitted or received",
    "unexpected message received",
    "resource temporarily unavailable",
    "temporarily unable to accept job",
    "backup controller",
    "persist_conn",
    "transport endpoint is not connected",
    "munge",
)
# So many jobs of one user or account may wait and run: QOSMaxSubmitJobPerUserLimit,
# AssocMaxSubmitJobLimit, QOSGrpSubmitJobsLimit and so on.
FULL = re.compile(r"(Max|Grp)SubmitJob", re.I)

# What SLURM itself writes into a job's log when it kills for memory. A stage's own "out of memory",
# of a GPU for one, is not mended by more memory of the node.
KILLED_FOR_MEMORY = re.compile(
    r"^(slurm[\w.-]*|srun): .*(oom.?kill|out of memory|memory limit)", re.I | re.M
)
WAITING_FOR = {  # reasons that SLURM gives for waiting, and what they mean
    "Priority": "others come first",
    "Resources": "what it asks for is in use",
    "PartitionTimeLimit": "it asks for more time than the partition allows, and will never start",
    "PartitionNodeLimit": "it asks for more nodes than the partition allows, and will never start",
    "PartitionDown": "the partition takes no jobs now",
    "BadConstraints": "no node has what it asks for, and it will never start",
    "JobHeldUser": "somebody holds it: scontrol release",
    "JobHeldAdmin": "an administrator holds it",
    "BeginTime": "SLURM starts it again in a moment",
    "DependencyNeverSatisfied": "it will never start",
}


def is_busy(message: str) -> bool:
    """Whether a submission failed for a reason of the scheduler that goes away by itself."""
    text = message.lower()
    return any(words in text for words in BUSY) or is_full(message)


def is_full(message: str) -> bool:
    """Whether a submission was one too many for the queue."""
    return FULL.search(message) is not None


def cause(state: str, log: Path | None) -> str:
    """Why a job failed: ``time``, ``memory``, or '' for what more of both would not mend."""
    if state == "TIMEOUT":
        return "time"
    if state == "OUT_OF_MEMORY":
        return "memory"
    text = log.read_text("utf-8", "replace") if log is not None and log.is_file() else ""
    return "memory" if KILLED_FOR_MEMORY.search(text) else ""


def grown(amount: int, failures: int, limit: int | None) -> int:
    """An amount that grows by itself with each failure for want of it, up to a limit."""
    wanted = amount * (1 + failures)
    return wanted if limit is None else min(wanted, limit)


def gpus_asked(flag: str, count: int, model: str) -> str:
    """The option that asks for GPUs; '' where none are needed."""
    if not count:
        return ""
    words = ["gpu"] if flag == "gres" else []
    words += [model, str(count)] if model else [str(count)]
    return f" --{flag or 'gpus'}={':'.join(words)}"


def waits_for(reason: str) -> str:
    """A pending reason of SLURM with what it means."""
    meaning = WAITING_FOR.get(reason)
    if meaning is None and re.search(r"^(QOS|Assoc)", reason):
        meaning = "a limit of the account or QOS"
    if meaning is None and reason.startswith("ReqNodeNotAvail"):
        meaning = "nodes that it needs are down, or reserved for maintenance"
    return f"{reason}: {meaning}" if meaning else reason
