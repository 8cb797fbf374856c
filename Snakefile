"""Continual multimodal instruction tuning as a workflow: the table of contents.

Every rule calls the stage of the same name, `python -m stages.<rule>`, and logs to a folder of
that name. `snakemake --cores all` runs workflow/config/pocket.yaml; another run is
`snakemake --cores all --configfile workflow/config/demo.yaml`.
"""

from snakemake.utils import min_version

min_version("9.0")

if not workflow.config_settings.configfiles:

    configfile: "workflow/config/pocket.yaml"


include: "workflow/rules/common.smk"


container: config["container"]


report: "workflow/report/workflow.rst"


include: "workflow/rules/data.smk"
include: "workflow/rules/router.smk"
include: "workflow/rules/experts.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        every_artefact(),
