"""LoRA experts on a frozen backbone, as standard PEFT adapters.

``y = W x + sum_k s_k B_k A_k x`` over the active experts k, all with weight 1 (Eq. 2),
``s = alpha / r``. An expert on disk is a PEFT adapter folder: ``adapter_config.json`` and
``adapter_model.safetensors`` load with ``peft.PeftModel.from_pretrained``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone.load import Backbone
from stages.core.backbone.losses import token_losses
from stages.core.base.artifacts import DIVERGED_ADVICE, read_json
from stages.core.base.errors import InputError
from stages.core.base.reading import check_finite, read_weights
from stages.core.base.writing import make_folder, replacing
from stages.core.experts.learner import AnswerLoss

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SlotRanks = dict[tuple[str, int, str], int]  # (tower, block, kind) -> LoRA rank


class ExpertModel(AnswerLoss):
    """A backbone whose slots can carry any number of named experts."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.peft: nn.Module | None = None
        self.active: list[str] = []
        self.training: str | None = None

    @property
    def model(self) -> nn.Module:
        """The model to call: with adapters if there are any."""
        return self.peft if self.peft is not None else self.backbone.model

    # --- adapters ---

    def add(
        self,
        name: str,
        ranks: SlotRanks,
        *,
        scale: float,
        dropout: float,
        seed: int,
        fused: bool = False,
    ) -> None:
        """A fresh trainable expert: A kaiming-uniform(a=sqrt 5), B zero.

        Args:
            ranks: rank of every slot that gets the expert.
            scale: ``alpha / r``, the same for every rank.
            seed: of the initial A.
            fused: the linears of a slot share one A, which the folder then holds for each of them.

        Raises:
            InputError: no slot at all.
        """
        import torch

        if not ranks:
            raise InputError(f"expert {name}: no slot was allocated; raise budget.ratio.")
        by_key = {slot.key: slot for slot in self.backbone.slots}
        pattern = {linear: ranks[key] for key in sorted(ranks) for linear in by_key[key].linears}
        torch.manual_seed(seed)
        self._inject(name, pattern, scale, dropout)
        if fused:
            self._share_a(name, [by_key[key].linears for key in ranks])

    def _share_a(self, name: str, slots: Iterable[Sequence[str]]) -> None:
        base = self.peft.get_base_model()
        for linears in slots:
            first, *others = (base.get_submodule(linear).lora_A[name] for linear in linears)
            for other in others:
                other.weight = first.weight

    def _inject(self, name: str, pattern: dict[str, int], scale: float, dropout: float) -> None:
        from peft import LoraConfig, get_peft_model

        usual = max(sorted(set(pattern.values())), key=list(pattern.values()).count)
        others = {linear: rank for linear, rank in pattern.items() if rank != usual}
        config = LoraConfig(
            r=usual,
            lora_alpha=scale * usual,
            lora_dropout=dropout,
            target_modules=sorted(pattern),
            rank_pattern=others,
            alpha_pattern={linear: scale * rank for linear, rank in others.items()},
            bias="none",
        )
        if self.peft is None:
            self.peft = get_peft_model(self.backbone.model, config, adapter_name=name)
        else:
            self.peft.add_adapter(name, config)

    def load(self, name: str, folder: Path) -> None:
        """A frozen expert from its folder, without dropout, in eval mode for good.

        Raises:
            InputError: not an adapter folder, or one that does not fit this backbone.
        """
        from peft import set_peft_model_state_dict

        config, weights = read_adapter(folder)
        others = config.get("rank_pattern", {})
        ranks = {key: others.get(key, config["r"]) for key in config["target_modules"]}
        try:
            self._inject(name, ranks, config["lora_alpha"] / config["r"], dropout=0.0)
            result = set_peft_model_state_dict(self.peft, weights, adapter_name=name)
        except (ValueError, RuntimeError) as error:  # no such linear, or another shape
            fault = " ".join(str(error).split())
            raise InputError(
                f"expert {folder}: does not fit {self.backbone.path}: {fault}"
            ) from None
        absent = [key for key in result.missing_keys if f".{name}." in key]
        if absent or result.unexpected_keys:
            wrong = (absent + list(result.unexpected_keys))[0]
            self.drop(name)
            raise InputError(f"expert {folder}: does not fit {self.backbone.path}: {wrong}.")

    def drop(self, name: str) -> None:
        """Forget a loaded expert, which must not be active, and free its memory."""
        others = [other for other in self.peft.peft_config if other != name]
        if others:
            self.peft.active_adapter = others[0]  # PEFT notes one by name and looks it up later
            self.peft.delete_adapter(name)
        else:
            self.peft.unload()
            self.peft = None

    def restore(self, name: str, folder: Path) -> None:
        """Overwrite an expert's weights with those of a folder of the same shape.

        Raises:
            InputError: the folder's slots or ranks differ.
        """
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        _, weights = read_adapter(folder)
        mine = get_peft_model_state_dict(self.peft, adapter_name=name)
        if {k: v.shape for k, v in mine.items()} != {k: v.shape for k, v in weights.items()}:
            raise InputError(f"expert {folder}: its slots or ranks differ from this run's.")
        set_peft_model_state_dict(self.peft, weights, adapter_name=name)

    def activate(self, names: Iterable[str], *, training: str | None = None) -> None:
        """Make exactly these experts active; only ``training`` (if given) gets gradients."""
        self.active, self.training = list(names), training
        self.peft.base_model.set_adapter(self.active, inference_mode=True)
        for key, parameter in self.peft.named_parameters():
            parameter.requires_grad_("lora_" in key and key.split(".")[-2] == training)

    @contextmanager
    def using(self, names: list[str]) -> Iterator[nn.Module]:
        """The model with these experts active; with none, the untouched backbone."""
        if self.peft is None:
            yield self.backbone.model
        elif names:
            self.activate(names)
            yield self.peft
        else:
            with self.peft.disable_adapter():
                yield self.peft

    @contextmanager
    def frozen_view(self, names: list[str]) -> Iterator[nn.Module]:
        """The model as ``using`` gives it, for a forward pass without gradients in training;
        afterwards the experts of before are active again."""
        import torch

        before = self.active, self.training
        with torch.no_grad(), self.using(names) as view:
            yield view
        self.activate(before[0], training=before[1])

    def trainable(self) -> dict[str, nn.Parameter]:
        """Parameters that learn, by full name, in a fixed order."""
        return {n: p for n, p in self.model.named_parameters() if p.requires_grad}

    # --- training ---

    def answer_logits(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Logits ``(n, vocabulary)`` from which the n answer tokens are predicted, and their
        cross-entropies ``(n,)``, of one forward pass."""
        seen = []

        def watched(**inputs: Any) -> Any:
            seen.append(self.model(**inputs))
            return seen[-1]

        losses, _ = token_losses(watched, batch)
        return seen[0].logits, losses

    # --- disk ---

    def save(self, name: str, folder: Path) -> None:
        """Write an expert as a PEFT adapter folder with a sorted, complete configuration.

        Raises:
            InputError: a number that is not finite.
        """
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        make_folder(folder)
        weights = get_peft_model_state_dict(self.peft, adapter_name=name)
        tensors = {key: weights[key].detach().cpu().clone() for key in sorted(weights)}
        check_finite(tensors, folder / WEIGHTS, DIVERGED_ADVICE)
        with replacing(folder / WEIGHTS) as draft:
            save_file(tensors, draft, metadata={"format": "pt"})
        config = self.peft.peft_config[name].to_dict()
        config |= {
            "base_model_name_or_path": self.backbone.path,
            "inference_mode": True,
            "target_modules": adapted_modules(tensors),
        }
        text = json.dumps(config, sort_keys=True, indent=2, default=sorted)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def adapted_modules(tensors: dict[str, Any]) -> list[str]:
    """Full names of the linears that an adapter's tensors sit on, sorted."""
    prefix = "base_model.model."
    return sorted({key.rsplit(".lora_", 1)[0].removeprefix(prefix) for key in tensors})


def read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An adapter folder's configuration, and its weights by name.

    Raises:
        InputError: a file of the folder is missing or damaged, or a weight is not finite.
    """
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"expert {folder}: missing {', '.join(missing)}. Train it again.")
    return read_json("adapter", folder / CONFIG), read_weights(folder / WEIGHTS)[0]
