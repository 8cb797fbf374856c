# Which experts answer which test sample, what they answer, and how good that is.


def routers(wildcards):
    """The tasks whose routers a run needs to route a sample: all, or none."""
    return TASKS if plan.needs(run_of(wildcards), "router") else []


def parents(wildcards):
    """The tasks whose choice of a parent routing looks at."""
    return TASKS if plan.uses_transfer_at_test(run_of(wildcards)) else []


def features_to_route(wildcards):
    name = run_of(wildcards)
    return test_features(name, wildcards.task) if plan.needs(name, "router") else []


def active_states(wildcards):
    """The tasks whose saved state may answer a test sample of this task."""
    method = plan.method(run_of(wildcards))
    if method.routing == "threshold":
        return method.trained_tasks(TASKS)
    stages = range(len(TASKS) + 1)
    named = {
        state for stage in stages for state in method.active(stage, wildcards.task, TASKS) or []
    }
    return [task for task in TASKS if task in named]


def score_flags(wildcards):
    """`--run NAME SEED ROUTES PREDICTIONS` for every run and task."""
    return [
        f"--run {name} {seed.removeprefix('seed')}"
        f" {made_by('route_samples', f'routes/{task}.parquet', f'{seed}/{name}')}"
        f" {made_by('predict', f'predictions/{task}.parquet', f'{seed}/{name}')}"
        for seed, name in runs()
        for task in TASKS
    ]


rule route_samples:
    input:
        data=f"{ROOT}/data/{{task}}/test.parquet",
        features=features_to_route,
        routers=of_tasks("fit_router", "routers/{task}.safetensors", routers),
        thresholds=of_tasks("fit_router", "routers/{task}.json", routers),
        transfers=of_tasks("choose_parent", "transfers/{task}.json", parents),
    output:
        f"{ROOT}/{{scope}}/routes/{{task}}.parquet",
    params:
        config=slice_of("route_samples"),
        flags=given("features", "routers", "thresholds", "transfers"),
        method=method_of,
        source=source_with_method("route_samples"),
        tasks=TASKS,
    log:
        f"{LOGS}/route_samples/{{scope}}/{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/route_samples/{{scope}}/{{task}}.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=60,
    shell:
        "python -m stages.route_samples --method {params.method} --task {wildcards.task}"
        " --tasks {params.tasks} --data {input.data} {params.flags}"
        " --config {params.config:q} --out {output} > {log} 2>&1"


rule predict:
    input:
        backbone=BACKBONE_FILES,
        data=f"{ROOT}/data/{{task}}/test.parquet",
        routes=of("route_samples", "routes/{task}.parquet"),
        states=of_tasks("train_expert", "experts/{task}", active_states),
    output:
        f"{ROOT}/{{scope}}/predictions/{{task}}.parquet",
    params:
        backbone=BACKBONE,
        config=slice_of("predict"),
        flags=given("states"),
        method=method_of,
        source=source_with_method("predict"),
    log:
        f"{LOGS}/predict/{{scope}}/{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/predict/{{scope}}/{{task}}.tsv"
    threads: 2
    resources:
        gpu=1,
        cpus_per_task=4,
        mem_mb=growing(16000),
        runtime=720,
    shell:
        "python -m stages.predict --method {params.method} --task {wildcards.task}"
        " --routes {input.routes} --data {input.data} --backbone {params.backbone} {params.flags}"
        " --config {params.config:q} --out {output} > {log} 2>&1"


rule score:
    input:
        data=expand(f"{ROOT}/data/{{task}}/test.parquet", task=TASKS),
        routes=of_runs("route_samples", "routes/{task}.parquet"),
        predictions=of_runs("predict", "predictions/{task}.parquet"),
    output:
        scores=f"{ROOT}/scores.parquet",
        metrics=f"{ROOT}/metrics.json",
    params:
        config=slice_of("score"),
        runs=score_flags,
        source=source_of("score"),
        tasks=TASKS,
    log:
        f"{LOGS}/score/score.log",
    benchmark:
        f"{BENCHMARKS}/score/score.tsv"
    localrule: True
    shell:
        "python -m stages.score --data {input.data} {params.runs} --tasks {params.tasks}"
        " --config {params.config:q} --out-scores {output.scores} --out-metrics {output.metrics}"
        " > {log} 2>&1"
