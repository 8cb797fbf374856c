# Which experts answer which test sample, what they answer, and how good that is.


rule route_samples:
    input:
        data=f"{ROOT}/data/{{task}}/test.parquet",
        features=features_to_route,
        routers=of_tasks("fit_router", "routers/{task}.safetensors", tasks_with_routers),
        thresholds=of_tasks("fit_router", "routers/{task}.json", tasks_with_routers),
        transfers=of_tasks("choose_parent", "transfers/{task}.json", tasks_with_parents),
    output:
        f"{ROOT}/{{scope}}/routes/{{task}}.parquet",
    log:
        f"{LOGS}/route_samples/{{scope}}/{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/route_samples/{{scope}}/{{task}}.tsv"
    localrule: True
    params:
        config=slice_of("route_samples"),
        flags=given("features", "routers", "thresholds", "transfers"),
        method=method_of,
        source=source_with_method("route_samples"),
        tasks=stream_of,
    shell:
        "python -m stages.route_samples --method {params.method} --task {wildcards.task}"
        " --tasks {params.tasks} --data {input.data} {params.flags}"
        " --config {params.config:q} --out {output} > {log} 2>&1"


rule predict_backbone:
    input:
        backbone=BACKBONE_FILES,
        data=f"{ROOT}/data/{{task}}/test.parquet",
    output:
        f"{ROOT}/{{place}}backbone_predictions/{{task}}.parquet",
    log:
        f"{LOGS}/predict_backbone/{{place}}{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/predict_backbone/{{place}}{{task}}.tsv"
    resources:
        gpu=GPUS["inference"],
        cpus_per_task=4 * GPUS["inference"],
        mem_mb=growing(16000 * GPUS["inference"]),
        runtime=growing(720),
    params:
        backbone=backbone,
        config=slice_of("predict_backbone"),
        source=source_of("predict_backbone"),
    shell:
        "python -m stages.core.base.launch {resources.gpu} stages.predict_backbone"
        " --data {input.data} --backbone {params.backbone}"
        " --config {params.config:q} --out {output} > {log} 2>&1"


rule predict:
    input:
        backbone=BACKBONE_FILES,
        data=f"{ROOT}/data/{{task}}/test.parquet",
        routes=of("route_samples", "routes/{task}.parquet"),
        untouched=of("predict_backbone", "backbone_predictions/{task}.parquet"),
        states=of_tasks("train_expert", "experts/{task}", states_at_test),
    output:
        f"{ROOT}/{{scope}}/predictions/{{task}}.parquet",
    log:
        f"{LOGS}/predict/{{scope}}/{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/predict/{{scope}}/{{task}}.tsv"
    resources:
        gpu=GPUS["inference"],
        cpus_per_task=4 * GPUS["inference"],
        mem_mb=growing(16000 * GPUS["inference"]),
        runtime=growing(720),
    params:
        backbone=backbone,
        config=slice_of("predict"),
        flags=given("states"),
        method=method_of,
        source=source_with_method("predict"),
    shell:
        "python -m stages.core.base.launch {resources.gpu} stages.predict"
        " --method {params.method} --task {wildcards.task}"
        " --routes {input.routes} --data {input.data} --backbone {params.backbone}"
        " --untouched {input.untouched} {params.flags}"
        " --config {params.config:q} --out {output} > {log} 2>&1"


rule score:
    input:
        data=expand(f"{ROOT}/data/{{task}}/test.parquet", task=TASKS),
        routes=of_runs("route_samples", "routes/{task}.parquet"),
        predictions=of_runs("predict", "predictions/{task}.parquet"),
    output:
        scores=f"{SUMMARY}/scores.parquet",
        metrics=f"{SUMMARY}/metrics.json",
    log:
        f"{LOGS}/score/{config['sweep'] or 'score'}.log",
    benchmark:
        f"{BENCHMARKS}/score/{config['sweep'] or 'score'}.tsv"
    localrule: True
    params:
        config=slice_of("score"),
        orders=other_orders(),
        runs=flag_of_runs(
            "--run",
            ("route_samples", "routes/{task}.parquet"),
            ("predict", "predictions/{task}.parquet"),
        ),
        source=source_of("score"),
        tasks=TASKS,
    shell:
        "python -m stages.score --data {input.data} {params.runs} --tasks {params.tasks}"
        " {params.orders} --config {params.config:q} --out-scores {output.scores}"
        " --out-metrics {output.metrics} > {log} 2>&1"
