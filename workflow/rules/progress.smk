"""What a run prints: a line for each finished job, with the time left."""

from pathlib import Path

from stages.core.costs.progress_lines import shorten
from stages.core.runs.run_jobs import run_jobs
from stages.core.runs.run_place import RunPlace


def say_a_line_a_job():
    """Unless Snakemake was asked for more, with --verbose or --printshellcmds."""
    output = workflow.output_settings
    if not (output.verbose or output.printshellcmds):
        shorten(logger, RunPlace(runs, run_jobs(runs), Path(ROOT), Path.cwd()))
