"""On SLURM: an executor that outlasts outages, and a look at the site before the first job."""

from snakemake.exceptions import WorkflowError

from stages.core.base.errors import InputError
from stages.core.cluster import executor as slurm
from stages.core.cluster.check import faults, notes
from stages.core.cluster.job import request_of
from stages.core.cluster.signals import cancel_on_signals
from stages.core.cluster.site import ask_site

if workflow.is_main_process:
    slurm.install()


def meet_the_cluster():
    """End before the first job if the site would refuse it or leave it waiting for ever."""
    executor = workflow.scheduler._executor
    if not isinstance(executor, slurm.Executor):
        return
    cancel_on_signals()
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    requests = list(dict.fromkeys(map(request_of, jobs)))
    try:
        executor.site = ask_site()
    except InputError as error:
        raise WorkflowError(f"error: {error}") from None
    if wrong := faults(executor.site, executor.settings, requests):
        listed = "\n".join(f"  {fault}" for fault in wrong)
        raise WorkflowError(
            f"error: this would not run here:\n{listed}\nAll there is: cmit cluster-check"
        )
    for note in notes(executor.site, executor.settings, requests):
        logger.info(f"SLURM: {note}")
