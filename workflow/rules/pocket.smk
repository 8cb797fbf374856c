"""Make the pocket backbone anew: pool, alignment, evaluation, export of the delta.

A workflow of its own, because its result is shipped:

    snakemake --snakefile workflow/rules/pocket.smk --cores all

The pool is built from Debian packages, so this needs a Debian system; alignment uses a GPU where
there is one. A stopped alignment goes on from results/pocket_backbone/train/checkpoint.
"""


configfile: "workflow/config/pocket_backbone.yaml"


include: "environment.smk"


ROOT = "results/pocket_backbone"
UNALIGNED = "results/backbones/pocket-unaligned"
SHIPPED = "data_manifests/pocket/backbone"


rule export_backbone:
    input:
        delta=f"{ROOT}/delta.safetensors",
        aligned=f"{ROOT}/aligned",
        unaligned=UNALIGNED,
        evaluation=f"{ROOT}/evaluation.json",
    output:
        touch(f"{ROOT}/exported"),
    log:
        f"{ROOT}/logs/export_backbone.log",
    localrule: True
    shell:
        "python -m stages.pocket.export_backbone --delta {input.delta:q} --aligned {input.aligned:q} "
        "--unaligned {input.unaligned:q} --evaluation {input.evaluation:q} "
        f"--manifest {SHIPPED} > {{log:q}} 2>&1"


rule build_pool:
    output:
        directory(f"{ROOT}/pool"),
    log:
        f"{ROOT}/logs/build_pool.log",
    shell:
        "python -m stages.pocket.build --work results/pocket_build --pool {output:q} "
        f"--out {ROOT}/stream > {{log:q}} 2>&1"


rule assemble_unaligned:
    input:
        f"{SHIPPED}/manifest.json",
    output:
        directory(UNALIGNED),
    log:
        f"{ROOT}/logs/assemble_unaligned.log",
    shell:
        "python -m stages.pocket.assemble_backbone --without-delta --out {output:q} > {log:q} 2>&1"


rule align_backbone:
    input:
        backbone=UNALIGNED,
        pool=f"{ROOT}/pool",
    output:
        f"{ROOT}/delta.safetensors",
    log:
        f"{ROOT}/logs/align_backbone.log",
    threads: 16
    resources:
        gpu=0,
        mem_mb=12000,
    params:
        train=f"{ROOT}/train",  # undeclared, so that a stopped run is not deleted
        minutes=config["minutes"],
        seed=config["seed"],
    shell:
        "(python -m stages.pocket.align_backbone --backbone {input.backbone:q} --pool {input.pool:q} "
        "--out {params.train:q} --minutes {params.minutes:q} --seed {params.seed:q} "
        "&& cp {params.train:q}/delta.safetensors {output:q}) >> {log:q} 2>&1"


rule assemble_aligned:
    input:
        delta=f"{ROOT}/delta.safetensors",
        manifest=f"{SHIPPED}/manifest.json",
    output:
        directory(f"{ROOT}/aligned"),
    log:
        f"{ROOT}/logs/assemble_aligned.log",
    shell:
        "python -m stages.pocket.assemble_backbone --delta {input.delta:q} --out {output:q} > {log:q} 2>&1"


rule evaluate_backbone:
    input:
        backbone=f"{ROOT}/aligned",
        pool=f"{ROOT}/pool",
    output:
        f"{ROOT}/evaluation.json",
    log:
        f"{ROOT}/logs/evaluate_backbone.log",
    params:
        samples=config["samples"],
        seed=config["seed"],
    shell:
        "python -m stages.pocket.evaluate_backbone --backbone {input.backbone:q} --pool {input.pool:q} "
        "--out {output:q} --samples {params.samples:q} --seed {params.seed:q} > {log:q} 2>&1"
