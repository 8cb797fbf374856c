"""What people edited: every run names it, and none overwrites it."""

from stages.core.base.edits import ADVICE, EDITABLE, is_edited


def edited_files():
    """The edited files of this configuration, each with the rule that makes it."""
    made_by = {
        file: writer(name) for name in EDITABLE for file in all_of("report", name)
    }
    return {file: rule for file, rule in made_by.items() if is_edited(file)}


EDITED = edited_files() if workflow.is_main_process else {}
for file, rule_name in EDITED.items():
    logger.warning(
        f"edited: {file} (if {rule_name} had to make it again, the run would stop)"
    )


def stop_before_overwriting():
    """End before the first job if an edited file would be overwritten.

    The stages refuse it too, but called by Snakemake they find nothing: it deletes the outputs of
    a job before the job starts. Flagged `update` they stay, but then a job that fails leaves the
    old file behind with a new time, and with that up to date.
    """
    if workflow.touch:
        return
    outputs = [file for job in workflow.dag.needrun_jobs() for file in job.output]
    lost = [
        f"  {file}: made by {EDITED[file]}"
        for file in sorted(outputs)
        if file in EDITED
    ]
    if lost:
        listed = "\n".join(lost)
        raise WorkflowError(
            f"error: edited files would be overwritten:\n{listed}\n{ADVICE}"
        )
