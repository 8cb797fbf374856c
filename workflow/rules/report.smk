# The run sheet, and what is made of all runs: scores, the comparison of methods, the report.


rule list_runs:
    output:
        made("list_runs", "runs"),
    log:
        log_of("list_runs"),
    localrule: True
    params:
        config=json.dumps(settings_of(config), sort_keys=True),
        root=os.path.relpath(ROOT, SUMMARY),
        labels=json.dumps(labels_of(runs), sort_keys=True),
        sources=json.dumps(sources_of(runs), sort_keys=True),
        source=source_of("list_runs"),
    shell:
        "python -m stages.list_runs --config {params.config:q} --root {params.root:q}"
        " --out {output:q} > {log:q} 2>&1"


rule score:
    input:
        runs=all_of("score", "runs"),
        data=all_of("score", "test_rows"),
        routes=all_of("score", "routes"),
        predictions=all_of("score", "predictions"),
    output:
        scores=made("score", "scores"),
        samples=made("score", "sample_scores"),
        metrics=made("score", "metrics"),
    log:
        log_of("score"),
    benchmark:
        benchmark_of("score")
    localrule: True
    params:
        config=config_of("score"),
        source=source_of("score"),
    shell:
        "python -m stages.score --runs {input.runs:q} --config {params.config:q}"
        " --out-scores {output.scores:q} --out-samples {output.samples:q}"
        " --out-metrics {output.metrics:q} > {log:q} 2>&1"


rule measure_separability:
    input:
        runs=all_of("measure_separability", "runs"),
        train=all_of("measure_separability", "train_rows"),
        test=all_of("measure_separability", "test_rows"),
        subset_features=all_of("measure_separability", "subset_features"),
        test_features=all_of("measure_separability", "test_features"),
    output:
        made("measure_separability", "separability"),
    log:
        log_of("measure_separability"),
    localrule: True
    params:
        source=source_of("measure_separability"),
    shell:
        "python -m stages.measure_separability --runs {input.runs:q} --out {output:q}"
        " > {log:q} 2>&1"


# Benchmark files are no inputs, or a deleted one would train its expert again; those that are
# there give the run times.
rule compare:
    input:
        runs=all_of("compare", "runs"),
        scores=all_of("compare", "scores"),
        samples=all_of("compare", "sample_scores"),
        metrics=all_of("compare", "metrics"),
        routers=all_of("compare", "router"),
        experts=all_of("compare", "expert"),
        routes=all_of("compare", "routes"),
        published=published_results(config["stream"]),
    output:
        json=made("compare", "comparison"),
        text=made("compare", "comparison_text"),
    log:
        log_of("compare"),
    localrule: True
    params:
        command=f"snakemake --configfile {' '.join(CONFIG_FILES)}",
        source=source_of("compare"),
    shell:
        "python -m stages.compare --runs {input.runs:q} --scores {input.scores:q}"
        " --samples {input.samples:q} --metrics {input.metrics:q} --published {input.published:q}"
        " --command {params.command:q} --out {output.json:q} --out-text {output.text:q} > {log:q} 2>&1"


PAGE_FILES = ("template.html", "page.css", "plots.css", "page.js")


rule report:
    input:
        runs=all_of("report", "runs"),
        scores=all_of("report", "scores"),
        metrics=all_of("report", "metrics"),
        comparison=all_of("report", "comparison"),
        separability=all_of("report", "separability"),
        template=[shipped(f"stages/core/report/{file}") for file in PAGE_FILES],
        profiles=all_of("report", "profile"),
        allocations=all_of("report", "allocation"),
        routers=all_of("report", "router"),
        transfers=all_of("report", "transfer"),
        experts=all_of("report", "expert"),
        routes=all_of("report", "routes"),
        data=all_of("report", "test_rows"),
        predictions=all_of("report", "predictions"),
        samples=all_of("report", "sample_scores"),
        general=sorted({*all_measured("general"), *GENERAL}),
        robust=all_measured("robust"),
    output:
        page=report(
            made("report", "report"),
            caption="../report/report.rst",
            category="Results",
            labels={"what": "the whole report"},
        ),
        figures=report(
            directory(made("report", "figures")),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="Figures",
            labels=lambda wildcards: {"figure": wildcards.figure.replace("_", " ")},
        ),
    log:
        log_of("report"),
    localrule: True
    params:
        source=source_of("report"),
    shell:
        "python -m stages.report --runs {input.runs:q} --scores {input.scores:q}"
        " --metrics {input.metrics:q} --comparison {input.comparison:q}"
        " --separability {input.separability:q}"
        " --out {output.page:q} --out-figures {output.figures:q} > {log:q} 2>&1"
