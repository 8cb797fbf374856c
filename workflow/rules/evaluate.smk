# Which experts answer which test sample, what they answer, and how good that is. With exec there is
# no shell between, and a signal reaches the stage, which saves before it stops.


rule route_samples:
    input:
        data=of("route_samples", "test_rows"),
        features=of("route_samples", "test_features"),
        routers=of("route_samples", "router_weights"),
        thresholds=of("route_samples", "router"),
        transfers=of("route_samples", "transfer"),
        experts=of("route_samples", "expert"),
    output:
        made("route_samples", "routes"),
    log:
        log_of("route_samples"),
    benchmark:
        benchmark_of("route_samples")
    localrule: True
    params:
        config=config_of("route_samples"),
        flags=given("features", "routers", "thresholds", "transfers", "experts"),
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
        shards=shards_of("predict_backbone"),
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
        loader_workers=config["loader"]["workers"],
        mem_mb=16000 * GPUS["inference"],
        runtime=720,
    params:
        backbone=backbone,
        config=config_of("predict_backbone"),
        out=lambda wildcards, output: output[0],
        shard=[],
        source=source_of("predict_backbone"),
    shell:
        "exec python -m stages.core.base.launch {resources.gpu} stages.predict_backbone"
        " --data {input.data:q} --backbone {params.backbone:q} {params.shard:q}"
        " --gpu-memory {resources.gpu_memory}"
        " --config {params.config:q} --workers {resources.loader_workers}"
        " --out {params.out:q} > {log:q} 2>&1"


# One of several jobs that divide the samples: its answers stay beside the file to come, and the
# job above joins them.
use rule predict_backbone as predict_backbone_shard with:
    input:
        backbone=BACKBONE_FILES,
        data=of("predict_backbone", "test_rows"),
    output:
        temp(shard_of("predict_backbone")),
    log:
        log_of("predict_backbone").replace(".log", ".shard{shard}.log"),
    benchmark:
        benchmark_of("predict_backbone").replace(".tsv", ".shard{shard}.tsv")
    params:
        out=made("predict_backbone", "backbone_predictions"),
        shard=shard_flags("predict_backbone"),


rule predict:
    input:
        backbone=BACKBONE_FILES,
        data=of("predict", "test_rows"),
        routes=of("predict", "routes"),
        untouched=of("predict", "backbone_predictions"),
        states=of("predict", "expert"),
        shards=shards_of("predict"),
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
        loader_workers=config["loader"]["workers"],
        mem_mb=16000 * GPUS["inference"],
        runtime=720,
    params:
        backbone=backbone,
        config=config_of("predict"),
        flags=given("states"),
        method=method_of,
        out=lambda wildcards, output: output[0],
        shard=[],
        source=source_with_method("predict"),
    shell:
        "exec python -m stages.core.base.launch {resources.gpu} stages.predict"
        " --method {params.method:q} --task {wildcards.task:q}"
        " --routes {input.routes:q} --data {input.data:q} --backbone {params.backbone:q}"
        " --untouched {input.untouched:q} {params.flags:q} {params.shard:q}"
        " --gpu-memory {resources.gpu_memory}"
        " --config {params.config:q} --workers {resources.loader_workers}"
        " --out {params.out:q} > {log:q} 2>&1"


use rule predict as predict_shard with:
    input:
        backbone=BACKBONE_FILES,
        data=of("predict", "test_rows"),
        routes=of("predict", "routes"),
        untouched=of("predict", "backbone_predictions"),
        states=of("predict", "expert"),
    output:
        temp(shard_of("predict")),
    log:
        log_of("predict").replace(".log", ".shard{shard}.log"),
    benchmark:
        benchmark_of("predict").replace(".tsv", ".shard{shard}.tsv")
    params:
        out=made("predict", "predictions"),
        shard=shard_flags("predict"),
