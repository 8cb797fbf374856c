"""What of a run a SLURM site would refuse or leave waiting for ever, said beforehand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from stages.core.base.errors import unknown
from stages.core.cluster.settings import PREFIX, Settings
from stages.core.cluster.site import Nodes, Partition, Site

SHORT_MEMORY = 30  # seconds; a controller that forgets jobs sooner may forget them between looks


@dataclass(frozen=True)
class Request:
    """What jobs of a rule ask for; memory in MB, 0 where they name none."""

    rule: str
    minutes: int
    memory: int
    cpus: int = 1
    gpus: int = 0
    gpu_model: str = ""
    partition: str = ""


def faults(site: Site, settings: Settings, requests: Iterable[Request]) -> list[str]:
    """A sentence for each thing that would not work; none where all would."""
    found = [*_names(site, settings)]
    for request in requests:
        found += _unfit(site, settings, request)
    return list(dict.fromkeys(found))


def notes(site: Site, settings: Settings, requests: Iterable[Request]) -> list[str]:
    """A sentence for each thing that works otherwise than one might expect."""
    found = []
    for request in requests:
        limit = allowed_minutes(site, settings, request)
        if limit is not None and limit < request.minutes:
            found.append(
                f"{request.rule} asks for {limit} minutes instead of {request.minutes}: partition "
                f"{request.partition or site.default}, your account or QOS allows no more. "
                "Training and prediction then go on in the next attempt."
            )
    most = site.submitted(settings.account or None, settings.qos or None)
    if most is not None:
        found.append(f"at most {most} jobs of yours at a time; Snakemake waits with the others.")
    if site.remembers < SHORT_MEMORY and not site.accounting:
        found.append(
            f"SLURM forgets finished jobs after {site.remembers} s (MinJobAge) and keeps no "
            "accounts: the output files tell whether such a job succeeded."
        )
    return list(dict.fromkeys(found))


def allowed_minutes(site: Site, settings: Settings, request: Request) -> int | None:
    """The longest time that a job may ask for; None where nothing limits it."""
    names = request.partition or None
    return site.minutes(names, settings.account or None, settings.qos or None)


def _names(site: Site, settings: Settings) -> Iterator[str]:
    """Names that the site does not know."""
    if settings.account and site.accounts and settings.account.lower() not in site.accounts:
        yield str(
            unknown(
                "account", settings.account, site.accounts, f"{PREFIX}ACCOUNT, of your accounts"
            )
        )
    if settings.qos and site.accounting and site.qos:
        allowed = frozenset[str]().union(*(limits.qos for limits in _accounts(site, settings)))
        if settings.qos not in (allowed or site.qos):
            yield str(unknown("QOS", settings.qos, allowed or site.qos, f"{PREFIX}QOS"))
    if settings.reservation and settings.reservation not in site.reservations:
        yield f"{PREFIX}RESERVATION: there is no reservation {settings.reservation!r} now."
    yield from _features(site, settings)


def _accounts(site: Site, settings: Settings) -> list:
    one = site.accounts.get(settings.account.lower())
    return [one] if one else list(site.accounts.values())


def _features(site: Site, settings: Settings) -> Iterator[str]:
    nodes = [nodes for part in site.partitions.values() for nodes in part.nodes]
    known = frozenset[str]().union(*(kind.features for kind in nodes))
    for word in re.findall(r"[\w.-]+", re.sub(r"\*\d+", "", settings.constraint)):
        if word not in known:
            yield str(unknown("feature of nodes", word, known, f"{PREFIX}CONSTRAINT"))


def _unfit(site: Site, settings: Settings, request: Request) -> Iterator[str]:
    """Why no node of its partition can ever run a request."""
    names = (request.partition or site.default or "").split(",")
    for name in names:
        if not name:
            known = _listed(site.partitions)
            yield f"there is no default partition: set {PREFIX}PARTITION to one of {known}."
        elif name not in site.partitions:
            yield str(unknown("partition", name, site.partitions, "partition"))
        elif not site.partitions[name].up:
            yield f"partition {name} is not up: its jobs would wait until it is."
    chosen = [part for part in site.chosen(request.partition or None) if part.nodes]
    if chosen and not any(_fits(part, request) for part in chosen):
        yield from _lacks(chosen, request)


def _fits(part: Partition, request: Request) -> bool:
    return any(_runs(nodes, part, request) for nodes in part.nodes)


def _runs(nodes: Nodes, part: Partition, request: Request) -> bool:
    """Whether one of these nodes is large enough."""
    memory = min(nodes.memory, part.memory or nodes.memory)
    return (
        request.memory <= memory
        and request.cpus <= nodes.cpus
        and request.gpus <= _gpus(nodes, request.gpu_model)
    )


def _gpus(nodes: Nodes, model: str) -> int:
    return nodes.gpus.get(model, 0) if model else sum(nodes.gpus.values())


def _lacks(parts: list[Partition], request: Request) -> Iterator[str]:
    """What is missing: one thing after the other is left out, until a node fits."""
    where = f"{request.rule}: no node of partition {_listed(part.name for part in parts)}"
    nodes = [kind for part in parts for kind in part.nodes]
    types = sorted({name or "without a type" for kind in nodes for name in kind.gpus})
    most = max(_gpus(kind, request.gpu_model) for kind in nodes)
    if request.gpus and not types:
        yield f"{where} has GPUs: set {PREFIX}GPU_PARTITION."
    elif request.gpus and not most:
        yield str(
            unknown("GPU type", request.gpu_model, types, f"{request.rule}, in its partition")
        )
    elif request.gpus > most:
        yield (
            f"{where} has more than {most} GPUs of that kind, {request.gpus} are asked for: "
            "gpus.training and gpus.inference of the configuration."
        )
    elif any(_fits(part, replace(request, memory=0)) for part in parts):
        largest = max(part.largest or 0 for part in parts)
        why = f", at most {largest}" if request.memory > largest else " beside its GPUs"
        yield (
            f"{where} gives a job {request.memory} MB of memory{why}: "
            f"--set-resources {request.rule}:mem_mb=..."
        )
    else:
        most_cpus = max(kind.cpus for kind in nodes)
        yield (
            f"{where} has {request.cpus} CPUs for a job, at most {most_cpus}: "
            f"--set-resources {request.rule}:cpus_per_task=..."
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def summary(site: Site, settings: Settings) -> list[str]:
    """What the site has and what the profile uses of it, a line each."""
    lines = [
        f"SLURM {site.version}, "
        + ("with accounting" if site.accounting else "without accounting")
        + f", finished jobs are known for {site.remembers} s"
    ]
    for name, part in sorted(site.partitions.items()):
        used = [
            *(["default"] if part.default else []),
            *(["used"] if name in settings.partition.split(",") else []),
            *(["used for GPUs"] if name in settings.gpu_partition.split(",") else []),
            *([] if part.up else ["not up"]),
        ]
        limit = "no limit" if part.minutes is None else f"at most {_time(part.minutes)}"
        lines.append(
            f"partition {name}: {limit}, {'; '.join(map(_described, part.nodes)) or 'no nodes'}"
            + (f" ({', '.join(used)})" if used else "")
        )
    if site.accounts:
        lines.append(f"accounts of yours: {_listed(site.accounts)}")
    given = [f"{PREFIX}{name.upper()}={value}" for name, value in vars(settings).items() if value]
    lines.append("set: " + (" ".join(given) or f"no {PREFIX} variable, the defaults of the site"))
    return lines


def _time(minutes: int) -> str:
    return f"{minutes} min" if minutes % 60 else f"{minutes // 60} h"


def _described(nodes: Nodes) -> str:
    gpus = ", ".join(f"{count} GPU {name}".rstrip() for name, count in sorted(nodes.gpus.items()))
    return f"{nodes.count} x {nodes.cpus} CPUs, {nodes.memory} MB{f', {gpus}' if gpus else ''}"
