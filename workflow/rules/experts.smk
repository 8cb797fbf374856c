# Training: one job per method and task. A job reads the states its method starts from; with
# D-MoLE that is the parent's expert alone, so branches of the parent tree train side by side.


def transfer_file(wildcards):
    """The parent's choice; on a fresh tree Snakemake comes back here once it has been made."""
    if not plan.has_transfer(run_of(wildcards)):
        return []
    scope = plan.scope("choose_parent", wildcards.scope)
    return checkpoints.choose_parent.get(scope=scope, task=wildcards.task).output[0]


def starting_states(wildcards):
    """The expert folders that training starts from."""
    from stages.core.artifacts import read_json

    file = transfer_file(wildcards)
    transfer = read_json("transfer", file) if file else None
    method = plan.method(run_of(wildcards))
    tasks = method.starts_from(wildcards.task, TASKS, transfer)
    return [f"{ROOT}/{wildcards.scope}/experts/{task}" for task in tasks]


def allocation_file(wildcards):
    if not plan.needs(run_of(wildcards), "allocation"):
        return []
    return of("allocate_experts", "allocations/{task}.json")(wildcards)


rule train_expert:
    input:
        backbone=BACKBONE_FILES,
        data=f"{ROOT}/data/{{task}}/train.parquet",
        allocation=allocation_file,
        transfer=transfer_file,
        states=starting_states,
    output:
        directory(f"{ROOT}/{{scope}}/experts/{{task}}"),
    params:
        backbone=BACKBONE,
        checkpoints=f"{ROOT}/{{scope}}/checkpoints/{{task}}",
        config=slice_of("train_expert"),
        flags=given("allocation", "transfer", "states"),
        method=method_of,
        seed=seed_of,
        source=source_with_method("train_expert"),
        tasks=until,
    log:
        f"{LOGS}/train_expert/{{scope}}/{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/train_expert/{{scope}}/{{task}}.tsv"
    threads: 2
    resources:
        gpu=1,
        cpus_per_task=8,
        mem_mb=growing(32000),
        runtime=1440,
    shell:
        "python -m stages.train_expert --method {params.method} --task {wildcards.task}"
        " --tasks {params.tasks} --data {input.data} --backbone {params.backbone} {params.flags}"
        " --seed {params.seed} --config {params.config:q} --checkpoints {params.checkpoints}"
        " --out {output} > {log} 2>&1"
