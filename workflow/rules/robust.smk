# The finished runs, asked in other words (`cmit robust`); not part of `all`. The target `robust`
# makes a robust.json for each of them.


rule robust:
    input:
        [measured("robust").format(scope=scope) for scope, _ in runs.scopes],


rule ask_in_other_words:
    input:
        backbone=BACKBONE_FILES,
        manifests=[str(runs.manifest(task).path) for task in config["tasks"]],
        runs=made("list_runs", "runs"),
        finished=made("score", "metrics"),
    output:
        measured("robust"),
    log:
        f"{ROOT}/logs/ask_in_other_words/{config['sweep'] or 'plain'}/{{scope}}.log",
    resources:
        gpu=1,
        cpus_per_task=4,
        mem_mb=16000,
        runtime=720,
    params:
        run=run_of,
        seed=seed_of,
        source=source_of("tools.robust"),
    shell:
        "python -m stages.tools.robust {input.runs:q} --method {params.run:q} --seed {params.seed}"
        " --samples 40 --answers --out {output:q} > {log:q} 2>&1"
