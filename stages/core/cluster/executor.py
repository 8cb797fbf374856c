"""The executor of snakemake-executor-plugin-slurm, made to outlast what clusters do.

What the plugin (2.8) does, with the threads of its users, and what happens here instead:

- A submission that SLURM is too busy for, or that is one too many for the queue, ends an attempt
  (plugin 313 and 320, Snakemake 1789). Here it waits and is tried again, without counting, and not
  before SLURM has said that it did not take the job after all.
- Five failed looks at the queue, or a job that the controller has forgotten, and Snakemake waits
  for ever (plugin 157 and 207, Snakemake 1227); so it does for a cancelled job that sacct calls
  `CANCELLED by 0`, and for preempted ones that are not queued again. Here a failed look is no look,
  and a forgotten job is asked of sacct; without accounting its output files decide.
- Ctrl-C cancels the jobs it has on its list, which is empty during a look (plugin 397), SIGTERM
  waits for all running jobs, SIGHUP ends Snakemake alone. Here all three cancel every job of the
  run, by the name of the run.
- A retry has more time and memory whatever the job failed for. Here only what it lacked grows, up
  to what the partition allows.
- GPU types are letters, digits, dots and underscores, and asked for with --gpus (plugin 248, 387,
  466). Here they are as the site calls them, with the flag that it wants.
- Nobody says why a job waits. Here that is said after ten minutes.
"""

from __future__ import annotations

import asyncio
import shlex
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import snakemake_executor_plugin_slurm as plugin
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from stages.core.base.errors import InputError
from stages.core.cluster.check import allowed_minutes
from stages.core.cluster.job import comment, key, label, put, request_of
from stages.core.cluster.queue import Queue
from stages.core.cluster.settings import read_settings
from stages.core.cluster.signals import ignore_signals
from stages.core.cluster.site import Site
from stages.core.cluster.submission import cause, gpus_asked, grown, is_busy, is_full

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0  # seconds between submissions while SLURM takes none
LOOKS_FOR_NEW = 3  # after which a job that was never seen is taken as forgotten
LONGEST_GAP = 180.0  # seconds between looks

ENDED_BADLY = {
    *("BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "OUT_OF_MEMORY"),
    *("REVOKED", "TIMEOUT"),
}
# SLURM usually queues such a job again; ended for good when the next look finds the same.
MAY_COME_BACK = {"NODE_FAIL", "PREEMPTED"}


def install() -> None:
    """Have Snakemake take this executor where it would take the plugin's; before the DAG is run."""
    ExecutorPluginRegistry().get_plugin("slurm").executor = Executor
    plugin.set_gres_string = _gpu_option


def _gpu_option(job: Any) -> str:
    """What the plugin's function of that name does, for all types and flags."""
    request, gres = request_of(job), job.resources.get("gres")
    asked = gpus_asked(read_settings().gpu_flag, request.gpus, request.gpu_model)
    return (f" --gres={gres}" if gres else "") + asked


class Executor(plugin.Executor):
    """See the module's text; what is not said there is the plugin's."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        """Set up what is remembered, before the thread that looks at jobs is started."""
        try:
            self.settings = read_settings()
        except InputError as error:
            raise WorkflowError(f"error: {error}") from None
        self.site: Site | None = None  # given at the start of the run
        self._stopped = threading.Event()
        self._refusal = threading.local()
        self._failures: dict[str, Counter[str]] = {}
        self._known: set[str] = set()  # SLURM ids of this run
        self._gone: set[str] = set()  # may come back
        self._seen: set[str] = set()  # in a look
        self._absent = Counter[str]()
        self._gap = 0.0  # seconds until the next look
        super().__init__(workflow, logger)

    def __post_init__(self, test_mode: bool = False) -> None:
        """The run has its name now."""
        super().__post_init__(test_mode)
        self.queue = Queue(self.run_uuid, self.logger, self._stopped)

    # --- submission ---

    def run_jobs(self, jobs: list[Any]) -> None:
        """Submit jobs, with as much time and memory as they lacked before."""
        for job in jobs:
            self._size(job)
        super().run_jobs(jobs)

    def _size(self, job: Any) -> None:
        """Set a job's time and memory: grown where it failed for want of them, within limits."""
        asked, lacked = request_of(job), self._failures.get(key(job), Counter[str]())
        minutes, largest = self._limits(job)
        if asked.minutes:
            put(job, "runtime", grown(asked.minutes, lacked["time"], minutes))
        if asked.memory:
            # a first request that is too large was refused at the start of the run
            memory = max(asked.memory, grown(asked.memory, lacked["memory"], largest))
            put(job, "mem_mb", memory)
            if self.settings.mem_per_cpu == "yes":
                put(job, "mem_mb_per_cpu", -(-memory // asked.cpus))

    def _limits(self, job: Any) -> tuple[int | None, int | None]:
        """Minutes and MB that a job can have in its partition; None where nothing is known."""
        if self.site is None:
            return None, None
        request = request_of(job)
        sizes = [part.largest for part in self.site.chosen(request.partition or None)]
        known = [size for size in sizes if size is not None]
        return allowed_minutes(self.site, self.settings, request), max(known, default=None)

    def run_job(self, job: Any) -> None:
        """Submit a job, again with growing pauses while SLURM takes none for reasons of its own."""
        pause = FIRST_PAUSE
        while not self._stopped.is_set():
            self._refusal.message = None
            super().run_job(job)
            refusal = self._refusal.message
            if refusal is None:
                return
            if pause < LONGEST_PAUSE:
                why = "the queue is full of your jobs" if is_full(refusal) else "SLURM is busy"
                self.logger.info(f"{label(job)}: {why}, next try in {pause:.0f} s. {refusal}")
            while not self._stopped.wait(pause):
                pause = min(2 * pause, LONGEST_PAUSE)
                try:
                    number = self.queue.taken(comment(job), self._known)
                except OSError:
                    continue
                if number is not None:
                    self._report_job_submission_threadsafe(self._adopted(job, number))
                    return
                break

    def get_account_arg(self, job: Any) -> Iterator[str]:
        """The account as it is asked for; the look at the site has checked it, once. (The plugin
        calls sacctmgr before every job, or guesses by a call of sacct that never works.)"""
        account = job.resources.get("slurm_account")
        yield f" -A {shlex.quote(str(account))}" if account else ""

    def _report_job_error_threadsafe(self, job_info: SubmittedJobInfo, msg: str) -> None:
        """A failed submission: kept for the next try if it is the scheduler's fault."""
        if is_busy(msg):
            self._refusal.message = " ".join(msg.partition("sbatch call:")[0].split())
        else:
            super()._report_job_error_threadsafe(job_info, msg)

    def _adopted(self, job: Any, number: str) -> SubmittedJobInfo:
        """A job that was taken without our being told."""
        self.logger.info(f"{label(job)}: SLURM had taken it, as job {number}.")
        folder = self.slurm_logdir / f"rule_{job.name}" / plugin.get_job_wildcards(job)
        log = folder / f"{number}.log"
        return SubmittedJobInfo(job, external_jobid=number, aux={"slurm_logfile": log})

    def report_job_submission(self, job_info: SubmittedJobInfo, register_job: bool = True) -> None:
        """Also remember the id."""
        self._known.add(str(job_info.external_jobid))
        super().report_job_submission(job_info, register_job=register_job)

    # --- looks ---

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """One look at the queue; yields the jobs that have not ended, all where it failed."""
        first, longest = self._gaps()
        self.next_seconds_between_status_checks = first
        if not active_jobs:
            return
        states, one_ended = await self._states(active_jobs), False
        for job in active_jobs:
            number = str(job.external_jobid)
            state, reason = states.get(number, ("", ""))
            if self._settle(job, state):
                one_ended = True
            else:
                self.queue.tell(label(job.job), number, state, reason)
                yield job
        self._gap = first if one_ended else min(max(self._gap, first) + 10, longest)
        self.next_seconds_between_status_checks = self._gap

    def _gaps(self) -> tuple[float, float]:
        """Seconds between looks after a job has ended, and while none does: never so long that
        the controller forgets a job between two looks."""
        longest = min(LONGEST_GAP, max(self.site.remembers / 3, 5.0)) if self.site else 30.0
        first = float(self.workflow.executor_settings.init_seconds_before_status_checks)
        return min(first, longest), longest

    async def _states(self, jobs: list[SubmittedJobInfo]) -> dict[str, tuple[str, str]]:
        """State and reason of jobs by their ids; nothing of those of which nothing is known."""
        states = await self.queue.look()
        if states is None:
            return {}
        self._seen |= states.keys()
        absent = {str(job.external_jobid) for job in jobs} - states.keys()
        self._absent.update(absent)
        # some sites answer with what they knew a minute ago
        forgotten = [n for n in absent if n in self._seen or self._absent[n] >= LOOKS_FOR_NEW]
        if forgotten:
            accounting = self.site is None or self.site.accounting
            found = await self.queue.remembered(forgotten, accounting)
            states |= {number: (state, "") for number, state in found.items()}
        return states

    def _settle(self, job: SubmittedJobInfo, state: str) -> bool:
        """Report a job that has ended; whether it has."""
        number, log = str(job.external_jobid), (job.aux or {}).get("slurm_logfile")
        lost = state in MAY_COME_BACK and number in self._gone
        self._gone.discard(number)
        if state in MAY_COME_BACK:
            self._gone.add(number)
        if state == "UNKNOWN":
            self.logger.info(f"job {number}: SLURM has forgotten it, its output files decide.")
        if state == "COMPLETED" and log and not self._keeps_logs():
            Path(log).unlink(missing_ok=True)
        if state in ("COMPLETED", "UNKNOWN"):
            self.report_job_success(job)
        elif state in ENDED_BADLY or lost:
            lacked = cause(state, Path(log) if log else None)
            self._failures.setdefault(key(job.job), Counter())[lacked] += 1
            why = {"time": ", its time was over", "memory": ", it needed more memory"}
            message = f"SLURM job {number}: {state}{why.get(lacked, '')}. "
            self.report_job_error(job, msg=message, aux_logs=[str(log)] if log else [])
        else:
            return False
        return True

    def _keeps_logs(self) -> bool:
        return bool(self.workflow.executor_settings.keep_successful_logs)

    async def sleep(self) -> None:
        """The pause between looks; over when the run is."""
        until = time.monotonic() + self.next_seconds_between_status_checks
        while self.wait and time.monotonic() < until:
            await asyncio.sleep(0.5)

    # --- the end ---

    def cancel(self) -> None:
        """Cancel every job of the run, those that are just being submitted too."""
        ignore_signals()
        self._stopped.set()
        self.logger.info("Cancelling the jobs of this run.")
        self._job_submission_executor.shutdown(wait=True, cancel_futures=True)
        self.queue.cancel()
        self.shutdown()
