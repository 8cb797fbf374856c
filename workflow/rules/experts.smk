# Training: one job per method and task. A job reads the states its method starts from; with
# D-MoLE that is the parent's expert alone, so branches of the parent tree train side by side.
# Methods without an allocation read the size of D-MoLE's expert, to train as many parameters. With
# exec there is no shell between, and a signal reaches the stage, which saves before it stops.


rule train_expert:
    input:
        backbone=BACKBONE_FILES,
        data=of("train_expert", "train_rows"),
        allocation=of("train_expert", "allocation"),
        match=of("train_expert", "size"),
        transfer=of("train_expert", "transfer"),
        subset=of("train_expert", "subset"),
        states=of("train_expert", "expert"),
    output:
        directory(made("train_expert", "expert")),
    log:
        log_of("train_expert"),
    benchmark:
        benchmark_of("train_expert")
    resources:
        **SPREAD,
        nodes=GPUS["nodes"],
        gpu=GPUS["training"],
        cpus_per_task=8 * GPUS["training"] // GPUS["nodes"],
        loader_workers=config["loader"]["workers"],
        gpu_memory=str(GPUS["memory"]),
        report_to=config["training"]["report_to"],
        mem_mb=32000 * GPUS["training"] // GPUS["nodes"],
        runtime=720,
    params:
        backbone=backbone,
        checkpoints=f"{ROOT}/{{scope}}/checkpoints/{{task}}",
        config=config_of("train_expert"),
        flags=given("allocation", "match", "transfer", "subset", "states"),
        method=method_of,
        seed=seed_of,
        source=source_with_method("train_expert"),
        tasks=so_far,
    shell:
        "exec python -m stages.core.base.launch {resources.gpu} --nodes {resources.nodes}"
        " --cpus {resources.cpus_per_task} stages.train_expert"
        " --method {params.method:q} --task {wildcards.task:q}"
        " --tasks {params.tasks:q} --data {input.data:q} --backbone {params.backbone:q} {params.flags:q}"
        " --seed {params.seed} --config {params.config:q} --workers {resources.loader_workers}"
        " --report-to {resources.report_to} --gpu-memory {resources.gpu_memory}"
        " --checkpoints {params.checkpoints:q} --out {output:q} > {log:q} 2>&1"
