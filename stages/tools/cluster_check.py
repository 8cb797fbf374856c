"""Check what a SLURM site has, what the slurm profile will use of it, and what would not work.

    cmit cluster-check                  # the site and the CMIT_SLURM_ variables
    cmit cluster-check --config cmit    # also what the jobs of a configuration ask for

Exit code 1 with one line for each thing that would not work. Nothing is submitted. A run on SLURM
looks at the same before its first job.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.core.base import cli
from stages.core.base.config import CLONE, find_config
from stages.core.base.errors import InputError
from stages.core.cluster.check import Request, faults, notes, summary
from stages.core.cluster.settings import Settings, read_settings
from stages.core.cluster.site import ask_site


def planned(config: Path) -> list[Request]:
    """What the jobs of a whole run ask for, of Snakemake's own plan.

    Raises:
        InputError: the configuration has no plan; with Snakemake's words.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(CLONE / "Snakefile")]
    command += ["--profile", str(CLONE / "workflow/profiles/slurm"), "--configfile", str(config)]
    done = subprocess.run([*command, "--dry-run", "--forceall"], capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{config}: there is no plan. {(done.stderr + done.stdout).strip()}")
    return requests(done.stdout + done.stderr)


def requests(plan: str) -> list[Request]:
    """What the jobs of a printed plan ask for, each kind once; local rules ask for nothing."""
    found = []
    for rule, block in re.findall(r"^(?:rule|checkpoint) (\w+):\n((?: {4}.*\n)+)", plan, re.M):
        asked = dict(re.findall(r"(\w+)=([^,\s]+)", block.partition("    resources:")[2]))
        if "runtime" in asked:
            found.append(
                Request(
                    rule=rule,
                    minutes=int(asked["runtime"]),
                    memory=int(asked.get("mem_mb", 0)),
                    cpus=int(asked.get("cpus_per_task", 1)),
                    gpus=int(asked.get("gpu", 0)),
                    gpu_model=asked.get("gpu_model", ""),
                    partition=asked.get("slurm_partition", ""),
                )
            )
    return list(dict.fromkeys(found))


def any_jobs(settings: Settings) -> list[Request]:
    """A job without and one with a GPU, of no size."""
    model, gpu_partition = settings.gpu_model, settings.gpu_partition or settings.partition
    return [
        Request("any job", 0, 0, partition=settings.partition),
        Request("any GPU job", 0, 0, gpus=1, gpu_model=model, partition=gpu_partition),
    ]


def check_cluster(config: Path | None) -> None:
    """Print what there is and what to know.

    Raises:
        InputError: something would not work, or SLURM does not answer.
    """
    settings, site = read_settings(), ask_site()
    asked = planned(config) if config else any_jobs(settings)
    print("\n".join(summary(site, settings)))
    for note in notes(site, settings, asked):
        print(f"note: {note}")
    if wrong := faults(site, settings, asked):
        raise InputError("\nerror: ".join(wrong))
    print("Nothing stands against a run here.")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__ or "", config=False)
    parser.add_argument("--config", help="a YAML config file, or the name of a shipped one")
    args = parser.parse_args(argv)
    check_cluster(find_config(args.config) if args.config else None)


if __name__ == "__main__":
    cli.run(main)
