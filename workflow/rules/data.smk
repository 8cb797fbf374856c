# Backbone, rows, the subset of rows that profile and router are computed on, and features.


rule assemble_backbone:
    input:
        "data_manifests/pocket/backbone/manifest.json",
        "data_manifests/pocket/backbone/delta.safetensors",
    output:
        directory("results/backbones/pocket"),
    log:
        "results/backbones/logs/assemble_backbone.log",
    localrule: True
    shell:
        "python -m stages.pocket.assemble_backbone --out {output} > {log} 2>&1"


rule make_tiny_backbone:
    output:
        directory("results/backbones/tiny"),
    log:
        "results/backbones/logs/make_tiny_backbone.log",
    localrule: True
    params:
        source=source_of("tools.make_tiny_backbone"),
    shell:
        "python -m stages.tools.make_tiny_backbone --out {output} --seed 0 > {log} 2>&1"


rule prepare_data:
    input:
        manifest=manifest_file,
        rows=rows_files,
    output:
        f"{ROOT}/data/{{task}}/{{split}}.parquet",
    log:
        f"{LOGS}/prepare_data/{{task}}/{{split}}.log",
    benchmark:
        f"{BENCHMARKS}/prepare_data/{{task}}/{{split}}.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        max_pixels=config["max_pixels"],
        picked=picked_rows,
        root=f"--root {config['data_root']}" if config["data_root"] else "",
        source=source_of("prepare_data"),
    shell:
        "python -m stages.prepare_data --manifest {input.manifest} --split {wildcards.split}"
        " {params.root} --max-pixels {params.max_pixels} {params.picked} --out {output} > {log} 2>&1"


rule sample_subset:
    input:
        f"{ROOT}/data/{{task}}/train.parquet",
    output:
        f"{ROOT}/{{scope}}/subsets/{{task}}.parquet",
    log:
        f"{LOGS}/sample_subset/{{scope}}/{{task}}.log",
    localrule: True
    params:
        config=slice_of("sample_subset"),
        seed=seed_of,
        source=source_of("sample_subset"),
    shell:
        "python -m stages.sample_subset --data {input} --seed {params.seed}"
        " --config {params.config:q} --out {output} > {log} 2>&1"


rule extract_features:
    input:
        backbone=BACKBONE_FILES,
        rows=rows_of_features,
    output:
        f"{ROOT}/{{place}}features/{{task}}.parquet",
    log:
        f"{LOGS}/extract_features/{{place}}{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/extract_features/{{place}}{{task}}.tsv"
    resources:
        gpu=GPUS["inference"],
        cpus_per_task=4 * GPUS["inference"],
        mem_mb=growing(16000 * GPUS["inference"]),
        runtime=growing(120),
    params:
        backbone=backbone,
        config=slice_of("extract_features"),
        source=source_of("extract_features"),
    shell:
        "python -m stages.core.base.launch {resources.gpu} stages.extract_features"
        " --rows {input.rows} --backbone {params.backbone}"
        " --config {params.config:q} --out {output} > {log} 2>&1"
