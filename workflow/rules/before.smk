"""What costly jobs made before, put aside for them instead of deleted (stages/core/base/before.py).

Snakemake 9.27 has no such way: outputs flagged `update` stay too, but when their job fails they come
back with a new time, and count as up to date.
"""

import os
from pathlib import Path

from snakemake.jobs import Job

from stages.core.base import before

COSTLY = {"train_expert", "predict"}
MAKE_AGAIN = "CMIT_MAKE_AGAIN"  # for Snakemake inside jobs, whose own settings always force


def remember_force():
    """Before the first job: whether somebody wants jobs done again for no reason of Snakemake's."""
    asked = workflow.dag_settings
    forced = asked.forceall or asked.forcetargets or asked.forcerun
    os.environ[MAKE_AGAIN] = "yes" if forced else ""


def _files(job):
    """The outputs of a job and its file of run times."""
    return list(map(Path, job.output)), Path(job.benchmark) if job.benchmark else None


def _moving_aside(remove):
    async def remove_existing_output(job):
        if job.rule.name in COSTLY:
            outputs, benchmark = _files(job)
            before.move_aside(outputs, benchmark)
            if os.environ.get(MAKE_AGAIN):
                before.discard(*outputs, benchmark)
        await remove(job)

    return remove_existing_output


def _settling(postprocess):
    async def settled(job, *args, error=False, **kwargs):
        await postprocess(job, *args, error=error, **kwargs)
        if job.rule.name in COSTLY and not error:
            before.settle(*_files(job))

    return settled


Job.remove_existing_output = _moving_aside(Job.remove_existing_output)
Job.postprocess = _settling(Job.postprocess)
