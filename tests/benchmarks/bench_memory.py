"""Memory of the GPU stages by the planner's formulas, beside what the stages' own code keeps.

python -m tests.benchmarks.bench_memory [SHAPE ...]

Prints the table of docs/memory.md. No GPU is needed: tensors have shapes only (helpers/ledger).
"""

import sys
import tempfile
from pathlib import Path

from tests.helpers import ledger_stages as stages
from tests.helpers.published_shapes import CONFIGS

GB = 1e9


def main() -> None:
    """One line per shape and stage."""
    print("| backbone | stage | samples | counted, GB | planned, GB | planned / counted |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or CONFIGS:
            shape = stages.Shape(name, Path(folder) / name)
            for case in (
                stages.training(shape, 2, again=False),
                stages.training(shape, 2, again=True),
                stages.profile(shape, 2, again=False),
                stages.profile(shape, 2, again=True),
                stages.image_features(shape, 16),
                stages.prediction(shape, 4),
            ):
                cells = (name, case.stage, str(case.batch), f"{case.counted / GB:.2f}")
                cells += (f"{case.planned.total / GB:.2f}", f"{case.ratio:.2f}")
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
