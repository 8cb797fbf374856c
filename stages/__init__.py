"""Pipeline stages: one module per Snakemake rule, run as ``python -m stages.<stage>``."""
