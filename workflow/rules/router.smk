# From the subset to what D-MoLE decides: where experts sit, which task a sample looks like, and
# beside which earlier expert a new one learns.


rule profile_gradients:
    input:
        backbone=BACKBONE_FILES,
        subset=of("sample_subset", "subsets/{task}.parquet"),
    output:
        f"{ROOT}/{{scope}}/profiles/{{task}}.parquet",
    log:
        f"{LOGS}/profile_gradients/{{scope}}/{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/profile_gradients/{{scope}}/{{task}}.tsv"
    resources:
        gpu=GPUS["inference"],
        cpus_per_task=4 * GPUS["inference"],
        mem_mb=growing(16000 * GPUS["inference"]),
        runtime=growing(120),
    params:
        backbone=backbone,
        config=slice_of("profile_gradients"),
        source=source_of("profile_gradients"),
    shell:
        "python -m stages.core.base.launch {resources.gpu} stages.profile_gradients"
        " --subset {input.subset} --backbone {params.backbone}"
        " --config {params.config:q} --out {output} > {log} 2>&1"


rule allocate_experts:
    input:
        of("profile_gradients", "profiles/{task}.parquet"),
    output:
        f"{ROOT}/{{scope}}/allocations/{{task}}.json",
    log:
        f"{LOGS}/allocate_experts/{{scope}}/{{task}}.log",
    localrule: True
    params:
        config=slice_of("allocate_experts"),
        seed=seed_of,
        source=source_of("allocate_experts"),
    shell:
        "python -m stages.allocate_experts --profile {input} --seed {params.seed}"
        " --config {params.config:q} --out {output} > {log} 2>&1"


rule fit_router:
    input:
        of("extract_features", "features/{task}.parquet"),
    output:
        weights=f"{ROOT}/{{scope}}/routers/{{task}}.safetensors",
        json=f"{ROOT}/{{scope}}/routers/{{task}}.json",
    log:
        f"{LOGS}/fit_router/{{scope}}/{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/fit_router/{{scope}}/{{task}}.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        config=slice_of("fit_router"),
        seed=seed_of,
        source=source_of("fit_router"),
    shell:
        "python -m stages.fit_router --features {input} --seed {params.seed}"
        " --config {params.config:q} --out-weights {output.weights} --out-json {output.json}"
        " > {log} 2>&1"


# A checkpoint: which expert a training job reads is known only once this has run. The thresholds
# are no input unless the choice looks at them, so that editing one reruns no training.
checkpoint choose_parent:
    input:
        features=of("extract_features", "features/{task}.parquet"),
        routers=of_tasks("fit_router", "routers/{task}.safetensors", earlier),
        thresholds=of_tasks("fit_router", "routers/{task}.json", earlier_with_thresholds),
    output:
        f"{ROOT}/{{scope}}/transfers/{{task}}.json",
    log:
        f"{LOGS}/choose_parent/{{scope}}/{{task}}.log",
    localrule: True
    params:
        earlier=earlier,
        config=slice_of("choose_parent"),
        source=source_of("choose_parent"),
    shell:
        "python -m stages.choose_parent --features {input.features} --task {wildcards.task}"
        " --earlier {params.earlier} --routers {input.routers} --thresholds {input.thresholds}"
        " --config {params.config:q} --out {output} > {log} 2>&1"
