# One HTML file with everything a reader wants to see of a run.


# Benchmark files are no inputs, or a deleted one would train its expert again; those that are
# there give the run times.
rule report:
    input:
        scores=f"{SUMMARY}/scores.parquet",
        metrics=f"{SUMMARY}/metrics.json",
        template="stages/core/report/template.html",
        published="workflow/report/dmole_table2.csv",
        profiles=of_runs("profile_gradients", "profiles/{task}.parquet"),
        allocations=of_runs("allocate_experts", "allocations/{task}.json"),
        routers=of_runs("fit_router", "routers/{task}.json"),
        transfers=of_runs("choose_parent", "transfers/{task}.json"),
        experts=of_runs("train_expert", "experts/{task}"),
        routes=of_runs("route_samples", "routes/{task}.parquet"),
    output:
        comparison=f"{SUMMARY}/comparison.md",
        html=report(
            f"{SUMMARY}/report.html",
            caption="../report/report.rst",
            category="Results",
        ),
    log:
        f"{LOGS}/report/{config['sweep'] or 'report'}.log",
    localrule: True
    params:
        benchmarks=benchmark_files,
        command=COMMAND,
        config=json.dumps(config, sort_keys=True),
        flags=given("profiles", "allocations", "routers", "transfers", "experts"),
        routes=routes_of_runs,
        source=source_of("report"),
    shell:
        "python -m stages.report --scores {input.scores} --metrics {input.metrics} {params.flags}"
        " {params.routes} --benchmarks $(ls {params.benchmarks} 2> /dev/null)"
        " --published {input.published} --command {params.command:q} --config {params.config:q}"
        " --out {output.html} --out-comparison {output.comparison} > {log} 2>&1"
