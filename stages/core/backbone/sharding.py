"""A frozen language model in shares, one per process, for a backbone that fits no single GPU.

A block's weights are gathered when it computes and dropped after it (torch's fully sharded data
parallelism); what learns is added later, is small, and stays whole on every process. So do the
vision encoder, which a batch without images passes by while the other processes would wait for it,
and the embeddings, which methods read directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.core.base import distributed

if TYPE_CHECKING:
    import torch


def shard(language_model: Any, device: torch.device) -> None:
    """Divide the blocks of a language model, which lies on the CPU, over the processes' devices.

    One process keeps it whole.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if distributed.size() == 1:
        return
    mesh = init_device_mesh(device.type, (distributed.size(),))
    whole = set(language_model.parameters()) - set(language_model.layers.parameters())
    for block in language_model.layers:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    # without weights of its own, but the next block is gathered while one computes
    fully_shard(language_model, mesh=mesh, ignored_params=whole)
