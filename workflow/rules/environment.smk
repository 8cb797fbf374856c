"""Where the clone is, and the environment of jobs."""

import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

CLONE = Path(str(workflow.current_basedir)).resolve().parents[1]
if os.pathsep in str(CLONE):
    raise WorkflowError(f"error: {CLONE}: a clone cannot lie in a path with '{os.pathsep}'.")
sys.path.insert(0, str(CLONE))

# Jobs run with the Python that runs Snakemake, also where its environment is not activated.
os.environ.update(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")

# The code comes from the clone, wherever the working directory is. Packages of the user's own must
# not stand in for the pinned ones, nor get into a container.
os.environ.update(PYTHONPATH=str(CLONE), PYTHONNOUSERSITE="1")

# Tensors of a training step are large, and glibc returns them to the kernel after every use,
# which then clears the pages again: without these settings that is up to a third of the time of
# training on a CPU.
os.environ.update(
    MALLOC_MMAP_THRESHOLD_=str(2**32),
    MALLOC_TRIM_THRESHOLD_=str(2**34),
    MALLOC_TOP_PAD_=str(2**28),
    GLIBC_TUNABLES="glibc.malloc.hugetlb=1",
)


def published_results(stream):
    """The shipped results of others on a stream, if there are any."""
    path = f"workflow/report/published/{stream}.csv"
    return [shipped(path)] if (CLONE / path).is_file() else []


def shipped(path):
    """A file of the clone: relative where the clone is the working directory."""
    return path if Path.cwd() == CLONE else str(CLONE / path)
