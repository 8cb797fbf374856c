# Training: one job per method and task. A job reads the states its method starts from; with
# D-MoLE that is the parent's expert alone, so branches of the parent tree train side by side.
# Methods without an allocation read those of the whole stream, to train as many parameters.


rule train_expert:
    input:
        backbone=BACKBONE_FILES,
        data=rows_to_train_on,
        allocation=allocation_file,
        match=of_tasks("allocate_experts", "allocations/{task}.json", tasks_to_match),
        transfer=transfer_file,
        states=starting_states,
    output:
        directory(f"{ROOT}/{{scope}}/experts/{{task}}"),
    log:
        f"{LOGS}/train_expert/{{scope}}/{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/train_expert/{{scope}}/{{task}}.tsv"
    resources:
        gpu=GPUS["training"],
        cpus_per_task=8 * GPUS["training"],
        mem_mb=growing(32000 * GPUS["training"]),
        runtime=growing(720),
    params:
        backbone=backbone,
        checkpoints=f"{ROOT}/{{scope}}/checkpoints/{{task}}",
        config=slice_of("train_expert"),
        flags=given("allocation", "match", "transfer", "states"),
        method=method_of,
        seed=seed_of,
        source=source_with_method("train_expert"),
        tasks=so_far,
    shell:
        "python -m stages.core.base.launch {resources.gpu} stages.train_expert"
        " --method {params.method} --task {wildcards.task}"
        " --tasks {params.tasks} --data {input.data} --backbone {params.backbone} {params.flags}"
        " --seed {params.seed} --config {params.config:q} --checkpoints {params.checkpoints}"
        " --out {output} > {log} 2>&1"
