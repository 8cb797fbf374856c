# Backbone, rows, and the subset of rows that profile and router are computed on.

MANIFESTS = config["manifests"]
BACKBONE = config["backbone"]["path"]
MADE_BACKBONES = {"results/backbones/pocket", "results/backbones/tiny"}


def backbone_files():
    """What decides a backbone: the folder if a rule makes it, else its config and weights."""
    if BACKBONE in MADE_BACKBONES:
        return [BACKBONE]
    folder = Path(BACKBONE)
    if folder.is_dir():
        files = sorted(map(str, [*folder.glob("config.json"), *folder.glob("*.safetensors")]))
        if len(files) > 1:
            return files
        raise WorkflowError(f"error: {BACKBONE}: needs config.json and *.safetensors files.")
    if config["backbone"]["revision"]:
        return []  # a model of the hub, pinned by its revision
    raise WorkflowError(
        f"error: backbone.path: no folder {BACKBONE}. Name a folder with a model, or a model of "
        "the Hugging Face hub with its commit in backbone.revision; results/backbones/pocket is "
        "made when it is missing."
    )


BACKBONE_FILES = backbone_files()


def rows_files(wildcards):
    """The manifest and, where it names a local one, the file of the split."""
    manifest = Path(MANIFESTS, f"{wildcards.task}.yaml")
    named = (read_yaml(manifest).get(wildcards.split) or {}).get("file")
    return [str(manifest), *([str(manifest.parent / named)] if named else [])]


def picked_rows(wildcards):
    """The flags of a seeded pick of rows; it is the same for all seeds of the training."""
    count = config["rows"][wildcards.split]
    return f"--rows {count} --seed 0" if count else ""


def rows_of_features(wildcards):
    """Below a seed the features of the subset, elsewhere those of the test rows."""
    place = wildcards.place.rstrip("/")
    if split_scope(place)[0]:
        return made_by("sample_subset", f"subsets/{wildcards.task}.parquet", place)
    return f"{ROOT}/data/{wildcards.task}/test.parquet"


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
        "python -m stages.assemble_backbone --out {output} > {log} 2>&1"


rule make_tiny_backbone:
    output:
        directory("results/backbones/tiny"),
    params:
        source=source_of("make_tiny_backbone"),
    log:
        "results/backbones/logs/make_tiny_backbone.log",
    localrule: True
    shell:
        "python -m stages.make_tiny_backbone --out {output} --seed 0 > {log} 2>&1"


rule prepare_data:
    input:
        rows_files,
    output:
        f"{ROOT}/data/{{task}}/{{split}}.parquet",
    params:
        max_pixels=config["max_pixels"],
        rows=picked_rows,
        source=source_of("prepare_data"),
    log:
        f"{LOGS}/prepare_data/{{task}}/{{split}}.log",
    benchmark:
        f"{BENCHMARKS}/prepare_data/{{task}}/{{split}}.tsv"
    resources:
        mem_mb=growing(4000),
        runtime=120,
    shell:
        "python -m stages.prepare_data --manifest {input[0]} --split {wildcards.split}"
        " --max-pixels {params.max_pixels} {params.rows} --out {output} > {log} 2>&1"


rule sample_subset:
    input:
        f"{ROOT}/data/{{task}}/train.parquet",
    output:
        f"{ROOT}/{{scope}}/subsets/{{task}}.parquet",
    params:
        config=slice_of("sample_subset"),
        seed=seed_of,
        source=source_of("sample_subset"),
    log:
        f"{LOGS}/sample_subset/{{scope}}/{{task}}.log",
    resources:
        mem_mb=growing(2000),
        runtime=30,
    shell:
        "python -m stages.sample_subset --data {input} --seed {params.seed}"
        " --config {params.config:q} --out {output} > {log} 2>&1"


rule extract_features:
    input:
        backbone=BACKBONE_FILES,
        rows=rows_of_features,
    output:
        f"{ROOT}/{{place}}features/{{task}}.parquet",
    params:
        backbone=BACKBONE,
        config=slice_of("extract_features"),
        source=source_of("extract_features"),
    log:
        f"{LOGS}/extract_features/{{place}}{{task}}.log",
    benchmark:
        f"{BENCHMARKS}/extract_features/{{place}}{{task}}.tsv"
    threads: 2
    resources:
        gpu=1,
        cpus_per_task=4,
        mem_mb=growing(16000),
        runtime=120,
    shell:
        "python -m stages.extract_features --rows {input.rows} --backbone {params.backbone}"
        " --config {params.config:q} --out {output} > {log} 2>&1"
