# General benchmarks, off unless the configuration names some: what instruction tuning costs
# elsewhere. Made from the finished run, and again when its scores are.

GENERAL = []

if config["general"]["tasks"]:

    from stages.core.model.general import check_installed

    try:
        check_installed()
    except InputError as error:
        raise WorkflowError(f"error: general.tasks: {error}") from None

    GENERAL += [
        measured("general").format(scope=scope)
        for scope, run in runs.scopes
        if not runs.method(run).knows_task  # it can answer without being told the task
    ]

    rule general:
        input:
            backbone=BACKBONE_FILES,
            runs=made("list_runs", "runs"),
            metrics=made("score", "metrics"),
        output:
            measured("general"),
        log:
            f"{ROOT}/logs/general/{{scope}}.log",
        benchmark:
            f"{ROOT}/benchmarks/general/{{scope}}.tsv"
        resources:
            gpu=1,
            cpus_per_task=4,
            mem_mb=32000,
            runtime=720,
        params:
            run=run_of,
            limit=["--limit", config["general"]["limit"]] if config["general"]["limit"] else [],
            seed=seed_of,
            source=source_of("tools.general"),
            tasks=",".join(config["general"]["tasks"]),
        shell:
            "python -m stages.core.base.launch {resources.gpu} stages.tools.general {input.runs:q}"
            " --method {params.run:q} --seed {params.seed} --tasks {params.tasks:q} {params.limit}"
            " --out {output:q} > {log:q} 2>&1"
