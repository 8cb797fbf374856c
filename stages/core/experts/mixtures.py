"""Mixtures of low-rank experts in the slots of a frozen backbone, where PEFT has no such layer.

Every linear of a slot becomes ``y = W x + s sum_i w_i B_i A_i x``. The weights ``w`` come from the
slot's gate, which all linears of the slot share: per token (``TokenGate``), per sequence from its
first token (``SequenceGate``), or per sample from what the method computes of the prompt
(``SampleGate``).

A state on disk is ``mixture.safetensors`` and ``mixture.json``, which says all that is needed to
build the layers again. It is no PEFT folder, because a PEFT adapter has no gate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.core.base import artifacts
from stages.core.base.errors import InputError, unknown
from stages.core.base.reading import read_weights
from stages.core.base.writing import make_folder
from stages.core.experts.gates import Gate, Pass, fresh_matrix
from stages.core.experts.learner import AnswerLoss
from stages.core.experts.ranks import ExpertRanks, slot_name

if TYPE_CHECKING:
    from stages.core.backbone.load import Backbone
    from stages.core.backbone.slots import Slot

WEIGHTS, NOTES = "mixture.safetensors", "mixture.json"


# --- layers ---------------------------------------------------------------------------------


class LowRank(nn.Module):
    """``sum_i w_i B_i A_i x`` of one linear, or ``sum_i w_i B_i A x`` with one A for all.

    B starts at zero. Dropout is on the input of what learns, never on that of a frozen expert.
    """

    def __init__(
        self, shape: tuple[int, int], ranks: list[int], dropout: float, a: nn.ParameterList | None
    ) -> None:
        super().__init__()
        self.a = nn.ParameterList(fresh_matrix(r, shape[1]) for r in ranks) if a is None else a
        self.b = nn.ParameterList(nn.Parameter(torch.zeros(shape[0], r)) for r in ranks)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """x, weights ``(rows, 1 or length, N)`` -> ``(rows, length, out)``."""
        x = x.to(self.b[0].dtype)
        dropped = self.dropout(x)
        inner = [F.linear(dropped if a.requires_grad else x, a) for a in self.a]
        inner *= len(self.b) // len(inner)  # one A: the same for every B
        mixed = torch.cat([weights[..., i, None] * h for i, h in enumerate(inner)], dim=-1)
        return F.linear(mixed, torch.cat(list(self.b), dim=1))


class MixedLinear(nn.Module):
    """A linear of the backbone with its slot's mixture beside it."""

    def __init__(self, base: nn.Module, low_rank: LowRank, gate: Gate, scale: float) -> None:
        super().__init__()
        self.base_layer, self.low_rank, self.gate, self.scale = base, low_rank, gate, scale

    def forward(self, x: Tensor) -> Tensor:
        """``W x + s sum_i w_i B_i A_i x`` in the precision of the base."""
        y = self.base_layer(x)
        if self.gate.now.plain:
            return y
        return y + (self.scale * self.low_rank(x, self.gate(x))).to(y.dtype)


class SlotMixture(nn.Module):
    """The gate of a slot and the low-rank part of each of its linears."""

    def __init__(
        self,
        slot: Slot,
        ranks: list[int],
        dropout: float,
        one_a: bool,
        low_rank: Callable[..., LowRank],
    ) -> None:
        super().__init__()
        shared = nn.ParameterList([fresh_matrix(ranks[0], slot.shapes[0][1])]) if one_a else None
        self.linears = nn.ModuleDict(
            {
                name.rpartition(".")[2]: low_rank(shape, ranks, dropout, shared)
                for name, shape in zip(slot.linears, slot.shapes, strict=True)
            }
        )


class Mixture(AnswerLoss, nn.Module):
    """A backbone with mixtures in its slots; call ``.model``.

    ``describe`` (if set) turns the inputs of a pass over a prompt into ``now.given``, once per
    prompt. ``extra`` holds what learns outside the slots, such as keys.
    """

    def __init__(
        self,
        backbone: Backbone,
        ranks: ExpertRanks,
        gate: Callable[[Slot, int], Gate],
        *,
        scale: float,
        dropout: float,
        seed: int = 0,
        one_a: bool = False,
        low_rank: Callable[..., LowRank] = LowRank,
        extra: nn.Module | None = None,
        notes: dict[str, Any] | None = None,
    ) -> None:
        """Put mixtures into the slots; they are in training mode and all of them learn.

        Args:
            ranks: rank of each expert of every slot that has experts.
            gate: slot and number of experts -> the slot's gate.
            scale: ``s = alpha / r``, the same for every rank.
            one_a: all experts of a slot (and its linears) share one A; their ranks are equal.
            low_rank: makes the low-rank part of a linear.
            notes: what else the state's description says.

        Raises:
            InputError: the backbone has no slot of that name.
        """
        super().__init__()
        self.backbone, self.ranks, self.scale, self.one_a = backbone, ranks, scale, one_a
        self.notes = notes or {}
        self.now = Pass()
        self.describe: Callable[[dict[str, Any]], Tensor] | None = None
        self.slots, self.extra = nn.ModuleDict(), extra
        places = {slot_name(slot): slot for slot in backbone.slots}
        torch.manual_seed(seed)
        for name in ranks:
            if name not in places:
                raise unknown("slot", name, places, backbone.path)
            mixed = SlotMixture(places[name], ranks[name], dropout, one_a, low_rank)
            self.slots[name] = mixed
            mixed.gate = gate(places[name], len(ranks[name]))
            mixed.gate.attach(places[name].tower, self.now)
            self._insert(places[name], mixed)
        self.model = backbone.model
        self.to(backbone.device)
        self._hook = self.model.register_forward_pre_hook(self._before, with_kwargs=True)
        self.model.generate, self._generating = self._generate, False

    def _insert(self, slot: Slot, mixed: SlotMixture) -> None:
        for name in slot.linears:
            parent, _, leaf = name.rpartition(".")
            base = self.backbone.model.get_submodule(name)
            layer = MixedLinear(base, mixed.linears[leaf], mixed.gate, self.scale)
            setattr(self.backbone.model.get_submodule(parent), leaf, layer)

    def remove(self) -> None:
        """Give the backbone its own linears back."""
        self._hook.remove()
        del self.model.generate
        for slot in self.backbone.slots:
            if slot_name(slot) in self.ranks:
                for name in slot.linears:
                    parent, _, leaf = name.rpartition(".")
                    layer = self.backbone.model.get_submodule(name)
                    setattr(self.backbone.model.get_submodule(parent), leaf, layer.base_layer)

    def _before(self, module: nn.Module, args: tuple, inputs: dict[str, Any]) -> None:
        """Before each forward pass: find out whether it reads a prompt, and if so describe it."""
        past = inputs.get("past_key_values")
        self.now.prompt = past is None or past.get_seq_length() == 0
        if self.now.prompt and not self._generating:
            self._read(inputs)

    def _generate(self, *args: Any, **inputs: Any) -> Tensor:
        """``generate`` encodes the images before its first forward pass, so read the prompt now."""
        self._read(inputs)
        self._generating = True
        try:
            return type(self.model).generate(self.model, *args, **inputs)
        finally:
            self._generating = False

    def _read(self, inputs: dict[str, Any]) -> None:
        """Record which tokens and tiles belong to which sample, and the method's description."""
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        self.now.prompt = True
        self.now.mask = torch.ones_like(ids) if mask is None else mask
        self.now.owner = self.owner(inputs)
        if self.describe and not self.now.plain:
            self.now.given = self.describe(inputs | {"attention_mask": self.now.mask})

    def owner(self, inputs: dict[str, Any]) -> Tensor:
        """The sample that each image tile belongs to, ``(tiles,)``."""
        return self.backbone.prompter.images.owners(inputs)

    @contextmanager
    def plain(self) -> Iterator[nn.Module]:
        """The model as pretrained, mixtures off."""
        before, self.now.plain = self.now.plain, True
        try:
            yield self.model
        finally:
            self.now.plain = before

    @contextmanager
    def using(self, names: list[str]) -> Iterator[nn.Module]:
        """The model with its mixtures; with no state named, the untouched backbone."""
        if names:
            yield self.model
        else:
            with self.plain() as model:
                yield model

    def trainable(self) -> dict[str, nn.Parameter]:
        """Parameters that learn, by name, in a fixed order."""
        return {name: p for name, p in self._own().items() if p.requires_grad}

    def balance(self) -> Tensor:
        """Sum the load-balance losses of all gates in the last pass."""
        losses = [slot.gate.balance for slot in self.slots.values()]
        return torch.stack([loss for loss in losses if loss is not None]).sum()

    # --- disk ---

    def _own(self) -> dict[str, nn.Parameter]:
        parts = {"slots": self.slots, "extra": self.extra}
        return {
            f"{part}.{name}": parameter
            for part, module in parts.items()
            if module is not None
            for name, parameter in module.named_parameters()
        }

    def save(self, folder: Path) -> None:
        """Write all parameters but the backbone's, and what is needed to build the layers."""
        make_folder(folder)
        tensors = {name: p.detach().cpu() for name, p in self._own().items()}
        artifacts.write_weights(folder / WEIGHTS, tensors, provenance={})
        shape = {"ranks": self.ranks, "scale": self.scale, "one_a": self.one_a}
        text = json.dumps(self.notes | shape, sort_keys=True, indent=2)
        (folder / NOTES).write_text(text + "\n", encoding="utf-8")

    def restore(self, tensors: dict[str, Tensor], where: Path, *, grown: bool = False) -> None:
        """Overwrite the parameters with stored ones.

        Args:
            grown: this mixture has more than what is stored (a new task's router, experts).

        Raises:
            InputError: names or shapes differ; the message names the first.
        """
        own = self._own()
        wrong = [k for k in tensors if k not in own or own[k].shape != tensors[k].shape]
        wrong += [] if grown else [k for k in own if k not in tensors]
        if wrong:
            raise InputError(
                f"{where}: slots, ranks or experts differ from this run's, first in {wrong[0]}."
            )
        with torch.no_grad():
            for name, tensor in tensors.items():
                own[name].copy_(tensor)


def read_state(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Notes (mixture.json) and tensors, by name, of a saved mixture.

    Raises:
        InputError: a missing or damaged file, or a weight that is not finite.
    """
    return artifacts.read_json("mixture", folder / NOTES), read_weights(folder / WEIGHTS)[0]
