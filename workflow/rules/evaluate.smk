# Which experts answer which test sample, what they answer, and how good that is. With exec there is
# no shell between, and a signal reaches the stage, which saves before it stops.


rule route_samples:
    input:
        data=of("route_samples", "test_rows"),
        features=of("route_samples", "test_features"),
        routers=of("route_samples", "router_weights"),
        thresholds=of("route_samples", "router"),
        transfers=of("route_samples", "transfer"),
    output:
        made("route_samples", "routes"),
    log:
        log_of("route_samples"),
    benchmark:
        benchmark_of("route_samples")
    localrule: True
    params:
        config=config_of("route_samples"),
        flags=given("features", "routers", "thresholds", "transfers"),
        method=method_of,
        source=source_with_method("route_samples"),
        tasks=stream_of,
    shell:
        "python -m stages.route_samples --method {params.method:q} --task {wildcards.task:q}"
        " --tasks {params.tasks:q} --data {input.data:q} {params.flags:q}"
        " --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule predict_backbone:
    input:
        backbone=BACKBONE_FILES,
        data=of("predict_backbone", "test_rows"),
    output:
        made("predict_backbone", "backbone_predictions"),
    log:
        log_of("predict_backbone"),
    benchmark:
        benchmark_of("predict_backbone")
    resources:
        gpu=GPUS["inference"],
        gpu_memory=str(GPUS["memory"]),
        cpus_per_task=4 * GPUS["inference"],
        mem_mb=growing(16000 * GPUS["inference"]),
        runtime=growing(720),
    params:
        backbone=backbone,
        config=config_of("predict_backbone"),
        source=source_of("predict_backbone"),
    shell:
        "exec python -m stages.core.base.launch {resources.gpu} stages.predict_backbone"
        " --data {input.data:q} --backbone {params.backbone:q}"
        " --gpu-memory {resources.gpu_memory}"
        " --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule predict:
    input:
        backbone=BACKBONE_FILES,
        data=of("predict", "test_rows"),
        routes=of("predict", "routes"),
        untouched=of("predict", "backbone_predictions"),
        states=of("predict", "expert"),
    output:
        made("predict", "predictions"),
    log:
        log_of("predict"),
    benchmark:
        benchmark_of("predict")
    resources:
        gpu=GPUS["inference"],
        gpu_memory=str(GPUS["memory"]),
        cpus_per_task=4 * GPUS["inference"],
        mem_mb=growing(16000 * GPUS["inference"]),
        runtime=growing(720),
    params:
        backbone=backbone,
        config=config_of("predict"),
        flags=given("states"),
        method=method_of,
        source=source_with_method("predict"),
    shell:
        "exec python -m stages.core.base.launch {resources.gpu} stages.predict"
        " --method {params.method:q} --task {wildcards.task:q}"
        " --routes {input.routes:q} --data {input.data:q} --backbone {params.backbone:q}"
        " --untouched {input.untouched:q} {params.flags:q}"
        " --gpu-memory {resources.gpu_memory}"
        " --config {params.config:q} --out {output:q} > {log:q} 2>&1"
