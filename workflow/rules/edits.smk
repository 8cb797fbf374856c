"""What people edited: every run names it, and none overwrites it. Files that the configuration puts
in place of what a stage decides."""

from stages.core.base.edits import ADVICE, EDITABLE, is_edited
from stages.core.dmole.decisions import read_decision
from stages.core.runs.stage_table import OVERRIDES, rule_of

MAKERS = {rule_of(writer(name)) for name in EDITABLE} | {"take_override"}


def check_edits():
    """Name the edited files of this configuration, and the rules that make them; end if one makes
    no sense."""
    for made in runs.made:
        file = f"{ROOT}/{runs.file(made)}"
        if made.artefact in EDITABLE and is_edited(file):
            tasks = runs.tasks(split_scope(made.scope)[1])
            earlier = tasks[: tasks.index(made.task)]
            try:
                read_decision(made.artefact, file, made.task, earlier)
            except InputError as error:
                advice = f"Mend it, or drop the edit: cmit discard-edits {file}"
                raise WorkflowError(f"error: {error} {advice}") from None
            by = rule_of(made.stage)
            logger.warning(f"edited: {file} (if {by} had to make it again, the run would stop)")


if workflow.is_main_process:
    check_edits()


def stop_before_overwriting():
    """End before the first job if an edited file would be overwritten.

    The stages refuse it too, but called by Snakemake they find nothing: it deletes the outputs of
    a job before the job starts. Flagged `update` they stay, but then a job that fails leaves the
    old file behind with a new time, and with that up to date.
    """
    if workflow.touch:
        return
    planned = [job for job in workflow.dag.needrun_jobs() if job.rule.name in MAKERS]
    lost = sorted(
        f"  {file}: made by {job.rule.name}"
        for job in planned
        for file in job.output
        if file.endswith(".json") and is_edited(file)
    )
    if lost:
        listed = "\n".join(lost)
        raise WorkflowError(f"error: edited files would be overwritten:\n{listed}\n{ADVICE}")


ARTEFACT_IN = {os.path.dirname(artefact(name).path): name for name in OVERRIDES}


def override_of(wildcards):
    """The file that the configuration puts in place of an artefact."""
    files = runs.overrides(ARTEFACT_IN[wildcards.folder], run_of(wildcards))
    return files.get(wildcards.task, [])
