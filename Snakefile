"""Continual multimodal instruction tuning as a workflow: the table of contents.

Every rule calls the stage of the same name, `python -m stages.<rule>`, and logs to a folder of
that name. `snakemake --cores all` runs workflow/config/pocket.yaml; another run is
`snakemake --cores all --configfile workflow/config/demo.yaml`.
"""

from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/environment.smk"


if not workflow.config_settings.configfiles:

    configfile: shipped("workflow/config/pocket.yaml")


include: "workflow/rules/workarounds.smk"
include: "workflow/rules/before.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/params.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/edits.smk"
include: "workflow/rules/cluster.smk"
include: "workflow/rules/progress.smk"


onstart:
    stop_if_missing()
    stop_if_too_large()
    stop_before_overwriting()
    meet_the_cluster()
    tell_other_versions()
    sleep_until_a_job_ends()
    say_a_line_a_job()
    remember_force()


container: config["container"]


report: "workflow/report/workflow.rst"


include: "workflow/rules/data.smk"
include: "workflow/rules/router.smk"
include: "workflow/rules/experts.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/general.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/robust.smk"


rule all:
    default_target: True
    input:
        every_artefact(),
        GENERAL,
