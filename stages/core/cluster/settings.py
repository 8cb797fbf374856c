"""What differs between clusters: the variables ``CMIT_SLURM_*`` of workflow/profiles/slurm."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from stages.core.base.errors import unknown

PREFIX = "CMIT_SLURM_"
GPU_FLAGS = ("gpus", "gpus-per-node", "gres")


@dataclass(frozen=True)
class Settings:
    """What the user asks of the cluster; '' is the cluster's default."""

    account: str = ""
    partition: str = ""
    gpu_partition: str = ""
    gpu_model: str = ""
    gpu_flag: str = ""
    mem_per_cpu: str = ""
    qos: str = ""
    reservation: str = ""
    constraint: str = ""
    extra: str = ""

    def __post_init__(self) -> None:
        """Check what has a closed set of values."""
        if self.gpu_flag not in ("", *GPU_FLAGS):
            raise unknown("flag for GPUs", self.gpu_flag, GPU_FLAGS, f"{PREFIX}GPU_FLAG")
        if self.mem_per_cpu not in ("", "yes", "no"):
            raise unknown("answer", self.mem_per_cpu, ("yes", "no"), f"{PREFIX}MEM_PER_CPU")


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of an environment.

    Raises:
        InputError: a variable that is none of these, or a value outside a closed set.
    """
    names = {PREFIX + field.name.upper(): field.name for field in fields(Settings)}
    for name in environment:
        if name.startswith(PREFIX) and name not in names:
            raise unknown("variable", name, names)
    return Settings(
        **{names[name]: environment[name].strip() for name in names if name in environment}
    )
