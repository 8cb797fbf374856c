# One HTML file with everything a reader wants to see of a run.


rule report:
    input:
        scores=f"{ROOT}/scores.parquet",
        metrics=f"{ROOT}/metrics.json",
        profiles=of_runs("profile_gradients", "profiles/{task}.parquet"),
        allocations=of_runs("allocate_experts", "allocations/{task}.json"),
        routers=of_runs("fit_router", "routers/{task}.json"),
        transfers=of_runs("choose_parent", "transfers/{task}.json"),
        routes=of_runs("route_samples", "routes/{task}.parquet"),
    output:
        f"{ROOT}/report.html",
    params:
        source=source_of("report"),
    log:
        f"{LOGS}/report/report.log",
    localrule: True
    shell:
        "python -m stages.report --out {output} > {log} 2>&1"
