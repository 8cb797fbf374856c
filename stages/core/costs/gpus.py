"""GPUs by name, from NVIDIA's data sheets and architecture papers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """Peak bfloat16 operations per second (dense, sums in float32), memory and its bandwidth in
    bytes (per s), and the most that the board takes in watts (0: unknown)."""

    flops: float
    memory: float
    bandwidth: float
    watts: float = 0.0


GPUS = {
    "a100": Gpu(312e12, 40e9, 1.555e12, 400),  # data sheet A100, SXM
    "a100-80gb": Gpu(312e12, 80e9, 2.039e12, 400),  # the same
    "h100": Gpu(989.4e12, 80e9, 3.35e12, 700),  # data sheet H100, SXM
    "h200": Gpu(989.4e12, 141e9, 4.8e12, 700),  # data sheet H200, SXM
    "a6000": Gpu(
        154.8e12, 48e9, 0.768e12, 300
    ),  # data sheet RTX A6000: half of 309.7 with sparsity
    "l40s": Gpu(362.05e12, 48e9, 0.864e12, 350),  # data sheet L40S
    "rtx4090": Gpu(165.2e12, 24e9, 1.008e12, 450),  # Ada GPU architecture, appendix A
    "rtx5090": Gpu(209.5e12, 32e9, 1.792e12, 575),  # RTX Blackwell GPU architecture, appendix A
}
