# Backbone, rows, the subset of rows that profile and router are computed on, and features.


rule assemble_backbone:
    input:
        shipped("data_manifests/pocket/backbone/manifest.json"),
        shipped("data_manifests/pocket/backbone/delta.safetensors"),
    output:
        directory(MADE_BACKBONES[0]),
    log:
        "results/backbones/logs/assemble_backbone.log",
    localrule: True
    shell:
        "python -m stages.pocket.assemble_backbone --out {output:q} > {log:q} 2>&1"


rule make_tiny_backbone:
    output:
        directory(MADE_BACKBONES[1]),
    log:
        "results/backbones/logs/make_tiny_backbone.log",
    localrule: True
    params:
        source=source_of("tools.make_tiny_backbone"),
    shell:
        "python -m stages.tools.make_tiny_backbone --out {output:q} --seed 0 > {log:q} 2>&1"


# The content of the manifest and its files decides, not their times (ancient).
rule prepare_data:
    input:
        manifest=ancient(manifest_file),
        rows=ancient(rows_files),
    output:
        made("prepare_data", "train_rows"),
    log:
        f"{ROOT}/logs/prepare_data/{{task}}/{{split}}.log",
    benchmark:
        f"{ROOT}/benchmarks/prepare_data/{{task}}/{{split}}.tsv"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        contents=contents_of_data,
        max_pixels=config["max_pixels"],
        exif=config["image"]["exif"],
        picked=picked_rows,
        root=["--root", config["data_root"]] if config["data_root"] else [],
        source=source_of("prepare_data"),
    shell:
        "python -m stages.prepare_data --manifest {input.manifest:q} --split {wildcards.split:q}"
        " {params.root:q} --max-pixels {params.max_pixels} --exif {params.exif:q}"
        " {params.picked:q} --out {output:q}"
        " > {log:q} 2>&1"


# Its priority, as those of router.smk: it takes a second and holds trainings back.
rule sample_subset:
    input:
        of("sample_subset", "train_rows"),
    output:
        made("sample_subset", "subset"),
    log:
        log_of("sample_subset"),
    priority: 1
    localrule: True
    params:
        config=config_of("sample_subset"),
        seed=seed_of,
        source=source_of("sample_subset"),
    shell:
        "python -m stages.sample_subset --data {input:q} --seed {params.seed}"
        " --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule extract_features:
    input:
        backbone=BACKBONE_FILES,
        rows=rows_to_describe,
    output:
        f"{ROOT}/{{place}}{STAGES['extract_features'].writes['subset_features'].path}",
    log:
        f"{ROOT}/logs/extract_features/{{place}}{{task}}.log",
    benchmark:
        f"{ROOT}/benchmarks/extract_features/{{place}}{{task}}.tsv"
    resources:
        gpu=GPUS["inference"],
        gpu_memory=str(GPUS["memory"]),
        cpus_per_task=4 * GPUS["inference"],
        loader_workers=config["loader"]["workers"],
        mem_mb=16000 * GPUS["inference"],
        runtime=120,
    params:
        backbone=backbone,
        config=config_of("extract_features"),
        source=source_of("extract_features"),
    shell:
        "python -m stages.core.base.launch {resources.gpu} stages.extract_features"
        " --rows {input.rows:q} --backbone {params.backbone:q}"
        " --gpu-memory {resources.gpu_memory}"
        " --config {params.config:q} --workers {resources.loader_workers}"
        " --out {output:q} > {log:q} 2>&1"
