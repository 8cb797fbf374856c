# From the subset to what D-MoLE decides: where experts sit, which task a sample looks like, and
# beside which earlier expert a new one learns. What takes a second and holds trainings back has
# priority: of equals, the greedy scheduler starts the job that reads most.


rule profile_gradients:
    input:
        backbone=BACKBONE_FILES,
        subset=of("profile_gradients", "subset"),
    output:
        made("profile_gradients", "profile"),
    log:
        log_of("profile_gradients"),
    benchmark:
        benchmark_of("profile_gradients")
    resources:
        gpu=GPUS["inference"],
        gpu_memory=str(GPUS["memory"]),
        cpus_per_task=4 * GPUS["inference"],
        loader_workers=config["loader"]["workers"],
        mem_mb=16000 * GPUS["inference"],
        runtime=120,
    params:
        backbone=backbone,
        config=config_of("profile_gradients"),
        source=source_of("profile_gradients"),
    shell:
        "python -m stages.core.base.launch {resources.gpu} stages.profile_gradients"
        " --subset {input.subset:q} --backbone {params.backbone:q}"
        " --gpu-memory {resources.gpu_memory}"
        " --config {params.config:q} --workers {resources.loader_workers}"
        " --out {output:q} > {log:q} 2>&1"


rule allocate_experts:
    input:
        of("allocate_experts", "profile"),
    output:
        made("allocate_experts", "allocation"),
    log:
        log_of("allocate_experts"),
    priority: 1
    localrule: True
    params:
        config=config_of("allocate_experts"),
        seed=seed_of,
        source=source_of("allocate_experts"),
    shell:
        "python -m stages.allocate_experts --profile {input:q} --seed {params.seed}"
        " --config {params.config:q} --out {output:q} > {log:q} 2>&1"


# The same from the profile once more, for other methods: they do not run again when somebody edits
# an allocation.
rule match_size:
    input:
        of("match_size", "profile"),
    output:
        made("match_size", "size"),
    log:
        log_of("match_size"),
    priority: 1
    localrule: True
    params:
        config=config_of("match_size"),
        seed=seed_of,
        source=source_of("match_size"),
    shell:
        "python -m stages.match_size --profile {input:q} --seed {params.seed}"
        " --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule fit_router:
    input:
        of("fit_router", "subset_features"),
    output:
        weights=made("fit_router", "router_weights"),
        json=made("fit_router", "router"),
    log:
        log_of("fit_router"),
    benchmark:
        benchmark_of("fit_router")
    priority: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        config=config_of("fit_router"),
        seed=seed_of,
        source=source_of("fit_router"),
    shell:
        "python -m stages.fit_router --features {input:q} --seed {params.seed}"
        " --config {params.config:q} --out-weights {output.weights:q} --out-json {output.json:q}"
        " > {log:q} 2>&1"


# A checkpoint: which expert a training job reads is known only once this has run. The thresholds
# are no input unless the choice looks at them, so that editing one reruns no training.
checkpoint choose_parent:
    input:
        features=of("choose_parent", "subset_features"),
        routers=of("choose_parent", "router_weights"),
        thresholds=of("choose_parent", "router"),
    output:
        made("choose_parent", "transfer"),
    log:
        log_of("choose_parent"),
    priority: 1
    localrule: True
    params:
        earlier=earlier,
        config=config_of("choose_parent"),
        source=source_of("choose_parent"),
    shell:
        "python -m stages.choose_parent --features {input.features:q} --task {wildcards.task:q}"
        " --earlier {params.earlier:q} --routers {input.routers:q} --thresholds {input.thresholds:q}"
        " --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule take_override:
    input:
        override_of,
    output:
        f"{ROOT}/{{scope}}/{{folder}}/{{task}}.override.json",
    log:
        f"{ROOT}/logs/take_override/{{scope}}/{{folder}}/{{task}}.log",
    wildcard_constraints:
        folder="|".join(ARTEFACT_IN),
    localrule: True
    params:
        artefact=lambda wildcards: ARTEFACT_IN[wildcards.folder],
        earlier=lambda wildcards: (earlier(wildcards) if wildcards.folder == "transfers" else []),
        source=source_of("take_override"),
    shell:
        "python -m stages.take_override --artefact {params.artefact} --file {input:q}"
        " --task {wildcards.task:q} --earlier {params.earlier:q} --out {output:q} > {log:q} 2>&1"
