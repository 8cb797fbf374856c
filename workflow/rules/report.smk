# One HTML file with everything a reader wants to see of a run.


# Benchmark files are no inputs, or a deleted one would train its expert again; those that are
# there give the run times.
rule report:
    input:
        scores=f"{ROOT}/scores.parquet",
        metrics=f"{ROOT}/metrics.json",
        template="stages/core/report_template.html",
        profiles=of_runs("profile_gradients", "profiles/{task}.parquet"),
        allocations=of_runs("allocate_experts", "allocations/{task}.json"),
        routers=of_runs("fit_router", "routers/{task}.json"),
        transfers=of_runs("choose_parent", "transfers/{task}.json"),
        experts=of_runs("train_expert", "experts/{task}"),
        routes=of_runs("route_samples", "routes/{task}.parquet"),
    output:
        report(
            f"{ROOT}/report.html",
            caption="../report/report.rst",
            category="Results",
        ),
    log:
        f"{LOGS}/report/report.log",
    localrule: True
    params:
        benchmarks=benchmark_files(),
        config=json.dumps(config, sort_keys=True),
        flags=given("profiles", "allocations", "routers", "transfers", "experts"),
        routes=flag_of_runs("--routes", ("route_samples", "routes/{task}.parquet")),
        source=source_of("report"),
    shell:
        "python -m stages.report --scores {input.scores} --metrics {input.metrics} {params.flags}"
        " {params.routes} --benchmarks $(ls {params.benchmarks} 2> /dev/null)"
        " --config {params.config:q} --out {output} > {log} 2>&1"
