"""What is asked of one of Snakemake's jobs."""

from __future__ import annotations

from typing import Any

import snakemake_executor_plugin_slurm as plugin

from stages.core.cluster.check import Request


def request_of(job: Any) -> Request:
    """What a job asks for."""
    resources = job.resources
    return Request(
        rule=job.name,
        minutes=resources.get("runtime") or 0,
        memory=resources.get("mem_mb") or 0,
        cpus=resources.get("cpus_per_task") or job.threads,
        gpus=resources.get("gpu") or 0,
        gpu_model=resources.get("gpu_model") or "",
        partition=str(resources.get("slurm_partition") or ""),
    )


def key(job: Any) -> str:
    """The same for all attempts of a job."""
    return f"{job.name} {' '.join(map(str, job.output))}"


def comment(job: Any) -> str:
    """The comment that the plugin gives a job."""
    wildcards = plugin.get_job_wildcards(job)
    return f"rule_{job.name}" + (f"_wildcards_{wildcards}" if wildcards else "")


def label(job: Any) -> str:
    """A job as people know it."""
    return f"{job.name} {plugin.get_job_wildcards(job)}".rstrip()


def put(job: Any, name: str, value: int) -> None:
    """Set a resource of this attempt."""
    if name in job.resources.keys():  # noqa: SIM118 - a list whose items may have names
        setattr(job.resources, name, value)
    else:
        job.resources.update({name: value})
