"""Several processes of a stage of ``gpu_stages`` that share one start, for it takes the longest.

python -m tests.helpers.forked 4 train INPUTS OUTPUTS
"""

import os
import sys
import traceback
from pathlib import Path

import stages.core.experts.lora
import stages.core.training.phases  # noqa: F401
from stages.core.base.launch import free_port
from tests.helpers import gpu_stages


def work(rank: int, name: str, folders: list[str]) -> int:
    """One process's work; its exit code."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    try:
        getattr(gpu_stages, name)(*map(Path, folders))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """Command line."""
    count, name, *folders = sys.argv[1:]
    os.environ |= {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    children = []
    for rank in range(int(count)):
        child = os.fork()
        if not child:
            code = work(rank, name, folders)
            sys.stderr.flush()
            os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(max(map(abs, codes)))


if __name__ == "__main__":
    main()
