"""HiDe-LLaVA: a LoRA per task; at test all are merged, but in the top block, which is weighed.

Guo et al., ACL 2025 (arXiv 2503.12941). Every task trains a LoRA of its own, alone. At test the
language model's last block adds ``sum_k w_k B_k A_k x`` with ``w = softmax(s / 0.1)``, s_k the mean
of the cosines of the sample's image and text to the task's anchors; all other slots add
``(sum_k B_k) (sum_k A_k) x``, the LoRAs merged factor by factor. No task identity.

ASSUME, as in the released code: factors are merged with weight 1. Ours: anchors are means of up to
``samples`` training rows in the backbone's own features (the source's are CLIP's); slots of the
vision encoder, which the source leaves alone, are merged like those below the top.

The state is a mixture's (see ``stages.core.experts.mixtures``), not a PEFT folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.methods.disco import Disco

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.mixtures import Mixture
    from stages.methods.base import Run


class HiDeLLaVA(Disco):
    """A state holds the top block's LoRAs of all tasks, and the merged ones of the other slots."""

    label = "HiDe-LLaVA"
    options = Disco.options | {
        "temperature": Disco.options["temperature"] | {"default": 0.1},
    }

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> Mixture:
        """A fresh LoRA in every slot; those of earlier tasks beside it in the top block."""
        from stages.core.experts.mixtures import read_state
        from stages.core.experts.ranks import slot_name
        from stages.methods.layers.merged import top_slots

        expert, folder = job.config["expert"], next(iter(states.values()), None)
        before, tensors = read_state(folder) if folder else ({"tasks": [], "ranks": {}}, {})
        top = top_slots(job.slots)
        self.merged = {k: t for k, t in tensors.items() if k.split(".")[1] not in top}
        self.merged = {k: t for k, t in self.merged.items() if k.startswith("slots.")}
        ranks = self.ranks(job)
        by_name = {slot_name(slot): ranks[slot.key] for slot in job.slots}
        notes = {
            "tasks": [*before["tasks"], job.task],
            "ranks": {
                name: [*(before["ranks"].get(name, []) if name in top else []), rank]
                for name, rank in by_name.items()
            },
            "scale": expert["alpha"] / expert["rank"],
            "temperature": self.option(job, "temperature"),
        }
        model = self.build(backbone, notes, dropout=expert["dropout"], seed=job.seed)
        kept = {key: tensor for key, tensor in tensors.items() if key not in self.merged}
        model.restore(kept, folder, grown=True)
        return model

    def fit(self, model: Mixture, job: Job, rows: Dataset, run: Run) -> list[list[float]]:
        """Train the task's LoRA, then add those before to it where they are merged."""
        history = super().fit(model, job, rows, run)
        for name, parameter in model.slots.named_parameters(prefix="slots"):
            if name in self.merged:
                parameter.data += self.merged[name].to(parameter)
        return history

    def build(
        self, backbone: Backbone, notes: dict[str, Any], *, dropout: float = 0.0, seed: int = 0
    ) -> Mixture:
        """The mixture that a state's notes describe; the top block's weights follow the prompt."""
        from stages.core.experts.mixtures import Mixture
        from stages.methods.layers.anchors import anchors, near
        from stages.methods.layers.merged import gate_of, top_slots

        model = Mixture(
            backbone,
            notes["ranks"],
            gate_of(top_slots(backbone.slots)),
            scale=notes["scale"],
            dropout=dropout,
            seed=seed,
            extra=anchors(backbone, len(notes["tasks"])),
            notes=notes,
        )
        for slot in model.slots.values():
            for linear in slot.linears.values():
                for matrix in [*linear.a[:-1], *linear.b[:-1]]:
                    matrix.requires_grad_(False)

        def weights(inputs: dict[str, Any]) -> Tensor:
            by_image, by_text = near(model, inputs)
            return ((by_image + by_text) / 2 / notes["temperature"]).softmax(dim=-1)

        model.describe = weights
        return model


METHOD = HiDeLLaVA
