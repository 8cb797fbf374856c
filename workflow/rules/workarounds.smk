# What Snakemake 9.27 does that we do not want; each entry says why, and when it can go.

import re


from snakemake.persistence import PersistenceBase

inputs_of = PersistenceBase._input


def inputs_without_shards(self, job):
    """What Snakemake notes of a job's inputs, and compares with those of the next run: a finished
    prediction is the same however many jobs divided it, and is not made again for another number.

    Can go when an input can be marked as one that only has to be there.
    """
    return [file for file in inputs_of(self, job) if not re.search(r"\.shard\d+$", file)]


PersistenceBase._input = inputs_without_shards


def sleep_until_a_job_ends():
    """While jobs wait for a core, a limit of starts per second wakes Snakemake every second once
    for each job that has ended; after some hundreds that takes half a core from the jobs. Without
    its default limit, 100 a second, it wakes when a job ends.

    Can go when `max-jobs-per-timespan` no longer sets a timer per job that has ended.
    """
    starts = workflow.scheduling_settings.max_jobs_per_timespan
    if starts and (starts.max_jobs, starts.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
