"""What a SLURM site has, as its own commands tell: partitions, nodes, GPUs, limits, accounts."""

from __future__ import annotations

import getpass
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from stages.core.base.errors import InputError, first_line

PATIENCE = 20  # seconds until a command that does not answer is given up
QUESTIONS = {
    "config": ("scontrol", "show", "config"),
    "partitions": ("scontrol", "show", "partition", "--oneliner"),
    "nodes": ("sinfo", "--noheader", "--exact", "--format=%R|%m|%c|%G|%f|%D"),
    "reservations": ("scontrol", "show", "reservation", "--oneliner"),
}
OF_DATABASE = {
    "associations": "show assoc user={user} format=Account,QOS,DefaultQOS,MaxSubmitJobs,MaxWall",
    "qos": "show qos format=Name,MaxSubmitJobsPerUser,MaxWall",
}


@dataclass(frozen=True)
class Nodes:
    """Nodes that are alike; memory in MB, GPUs by type ('' where they have none)."""

    memory: int
    cpus: int
    gpus: dict[str, int]
    features: frozenset[str]
    count: int


@dataclass(frozen=True)
class Partition:
    """A partition; ``minutes`` and ``memory`` (MB on a node) are None where it sets no limit."""

    name: str
    default: bool
    up: bool
    minutes: int | None
    memory: int | None
    nodes: list[Nodes]

    @property
    def largest(self) -> int | None:
        """MB that a job can have on its largest node; None where no node is known."""
        found = [nodes.memory for nodes in self.nodes]
        return min(max(found), self.memory or max(found)) if found else None


@dataclass(frozen=True)
class Limits:
    """What an account or a QOS allows a user: jobs in the queue and minutes; None is no limit."""

    submitted: int | None = None
    minutes: int | None = None
    qos: frozenset[str] = frozenset()  # that an account may use
    default_qos: str = ""


@dataclass(frozen=True)
class Site:
    """All of it; ``accounts`` and ``qos`` are empty where there is no accounting database."""

    version: str
    remembers: int  # seconds that the controller knows a finished job (MinJobAge)
    accounting: bool
    enforced: frozenset[str]  # of AccountingStorageEnforce
    partitions: dict[str, Partition]
    accounts: dict[str, Limits] = field(default_factory=dict)
    qos: dict[str, Limits] = field(default_factory=dict)
    reservations: frozenset[str] = frozenset()

    @property
    def default(self) -> str | None:
        """The partition of jobs that name none."""
        return next((name for name, part in self.partitions.items() if part.default), None)

    def chosen(self, names: str | None) -> list[Partition]:
        """The known ones of the partitions that a job names, ``a,b`` or None for the default."""
        wanted = (names or self.default or "").split(",")
        return [self.partitions[name] for name in wanted if name in self.partitions]

    def minutes(
        self, names: str | None, account: str | None = None, qos: str | None = None
    ) -> int | None:
        """The longest time that a job may ask for there; None where nothing limits it."""
        limits = [part.minutes for part in self.chosen(names)]
        limits += [found.minutes for found in self._limits(account, qos)]
        return min((limit for limit in limits if limit is not None), default=None)

    def submitted(self, account: str | None = None, qos: str | None = None) -> int | None:
        """How many jobs of the user may wait and run at a time; None where nothing limits it."""
        limits = [found.submitted for found in self._limits(account, qos)]
        return min((limit for limit in limits if limit is not None), default=None)

    def _limits(self, account: str | None, qos: str | None) -> list[Limits]:
        if account is None and len(self.accounts) == 1:
            account = next(iter(self.accounts))
        mine = self.accounts.get((account or "").lower())
        found = [mine, self.qos.get(qos or (mine.default_qos if mine else ""))]
        return [limits for limits in found if limits]


def ask(*command: str) -> str:
    """What a SLURM command prints.

    Raises:
        InputError: the command is missing, fails, or does not answer.
    """
    line = " ".join(command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except FileNotFoundError:
        raise InputError(
            f"{command[0]}: no such command. Run this where SLURM's commands are: on a login node, "
            "after `module load slurm` where the site needs that."
        ) from None
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{line}: no answer in {PATIENCE} s. Try again when SLURM answers."
        ) from None
    if done.returncode:
        raise InputError(f"{line}: {first_line(ValueError(done.stderr))}")
    return done.stdout


def ask_site() -> Site:
    """Ask what there is, all commands at a time.

    Raises:
        InputError: the controller does not answer.
    """
    user = getpass.getuser()
    database = {
        name: ("sacctmgr", "--noheader", "--parsable2", *text.format(user=user).split())
        for name, text in OF_DATABASE.items()
    }
    with ThreadPoolExecutor() as pool:
        asked = {name: pool.submit(ask, *command) for name, command in QUESTIONS.items()}
        optional = {name: pool.submit(_or_nothing, command) for name, command in database.items()}
        answers = {name: answer.result() for name, answer in (asked | optional).items()}
    return read_site(answers)


def _or_nothing(command: Sequence[str]) -> str:
    """An answer of the database; '' where there is none, or where it is down."""
    try:
        return ask(*command)
    except InputError:
        return ""


def read_site(answers: dict[str, str]) -> Site:
    """What the answers to the questions say."""
    config = dict(re.findall(r"^(\w+)\s*= (.*?)\s*$", answers["config"], re.M))
    accounting = config.get("AccountingStorageType", "").endswith("slurmdbd")
    nodes = _nodes(answers["nodes"])
    partitions = [_partition(line, nodes) for line in answers["partitions"].splitlines() if line]
    enforced = re.findall(r"\w+", config.get("AccountingStorageEnforce", "").lower())
    return Site(
        version=config.get("SLURM_VERSION", "unknown"),
        remembers=int(re.sub(r"\D.*", "", config.get("MinJobAge", "")) or 300),
        accounting=accounting,
        enforced=frozenset(enforced) - {"none"},
        partitions={part.name: part for part in partitions},
        accounts=_accounts(answers["associations"]) if accounting else {},
        qos=_qos(answers["qos"]) if accounting else {},
        reservations=frozenset(re.findall(r"ReservationName=(\S+)", answers["reservations"])),
    )


def _partition(line: str, nodes: dict[str, list[Nodes]]) -> Partition:
    fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
    name = fields["PartitionName"]
    return Partition(
        name=name,
        default=fields.get("Default") == "YES",
        up=fields.get("State", "UP") == "UP",
        minutes=minutes(fields.get("MaxTime", "")),
        memory=int(found) if (found := fields.get("MaxMemPerNode", "")).isdigit() else None,
        nodes=nodes.get(name, []),
    )


def _nodes(text: str) -> dict[str, list[Nodes]]:
    found: dict[str, list[Nodes]] = {}
    for line in text.splitlines():
        name, memory, cpus, gres, features, count = line.split("|")
        kind = Nodes(
            memory=_number(memory),
            cpus=_number(cpus),
            gpus=gpus(gres),
            features=frozenset(features.split(",")) - {"(null)"},
            count=_number(count),
        )
        found.setdefault(name, []).append(kind)
    return found


def gpus(gres: str) -> dict[str, int]:
    """GPUs by type of ``gpu:a100:2(S:0-1),shard:8`` and the like; '' is GPUs without a type."""
    found: dict[str, int] = {}
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        kind, *words = entry.split(":")
        if kind == "gpu":
            count = int(words.pop()) if words and words[-1].isdigit() else 1
            name = words[0] if words else ""
            found[name] = found.get(name, 0) + count
    return found


def _accounts(text: str) -> dict[str, Limits]:
    """By account; one that has several rows, for partitions, sets no limits that are known here."""
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 4]
    found: dict[str, Limits] = {}
    for account, names, default, jobs, wall in rows:
        qos = frozenset(filter(None, names.split(",")))
        if account in found:
            found[account] = Limits(qos=qos | found[account].qos)
        else:
            only = next(iter(qos)) if len(qos) == 1 else ""
            found[account] = Limits(_maybe(jobs), minutes(wall), qos, default or only)
    return found


def _qos(text: str) -> dict[str, Limits]:
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 2]
    return {name: Limits(_maybe(jobs), minutes(wall)) for name, jobs, wall in rows}


def _number(text: str) -> int:
    """``256000`` or ``256000+``."""
    return int(re.sub(r"\D", "", text) or 0)


def _maybe(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def minutes(text: str) -> int | None:
    """Whole minutes of ``2-00:00:00``, ``90:00``, ``90``; None for no limit."""
    if not re.fullmatch(r"[\d:-]+", text):
        return None
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:  # days-hours[:minutes[:seconds]]
        hours, minute, *_ = [*parts, 0]
    else:  # [hours:]minutes:seconds, or minutes
        hours, minute = (parts[0], parts[1]) if len(parts) == 3 else (0, parts[0])
    return (int(days or 0) * 24 + hours) * 60 + minute
