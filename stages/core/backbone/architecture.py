"""A backbone's shape from its config.json: matrices, blocks and positions, without any weight.

The model is built on torch's meta device, so the matrices are the ones that the real model has,
whatever its family. Where no folder is at hand, ``data_manifests/backbones`` holds published
configurations under the models' names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone import published_internvl
from stages.core.backbone.families import registry as families
from stages.core.backbone.families.base import Family
from stages.core.backbone.folder import read_object
from stages.core.backbone.slots import TOWERS, Slot, find_slots, tower_of
from stages.core.base.errors import InputError, first_line, unknown

if TYPE_CHECKING:
    from torch import nn

SHIPPED = Path(__file__).resolve().parents[3] / "data_manifests" / "backbones"

_BLOCK = re.compile(r"\.(?:layers?|blocks)\.(?P<block>\d+)\.")


@dataclass(frozen=True)
class Matrix:
    """A linear layer's weight."""

    outputs: int
    inputs: int

    @property
    def size(self) -> int:
        """Weights, which are also the multiply-adds per position."""
        return self.outputs * self.inputs


@dataclass(frozen=True)
class Block:
    """A transformer block: attention projections and the linears of its MLP."""

    tower: str  # vision | llm
    number: int
    qkv: tuple[Matrix, ...]  # one fused or three
    o: Matrix
    mlp: tuple[Matrix, ...]  # two, or three where a gate is among them

    @property
    def heads_width(self) -> int:
        """Query heads x size of a head: the width at which attention mixes positions."""
        return self.o.inputs

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        return (*self.qkv, self.o, *self.mlp)


@dataclass(frozen=True)
class Architecture:
    """What a backbone consists of, and how many positions an image tile has in each part."""

    name: str
    parameters: int
    vision: tuple[Block, ...]
    llm: tuple[Block, ...]
    patch: Matrix  # the patch embedding, a matrix from a patch's pixels
    projector: tuple[Matrix, ...]
    head: Matrix
    patches: int  # of a tile
    vision_positions: int  # of a tile: patches and a class token if there is one
    tile_tokens: int  # of a tile in the language model
    slots: tuple[Slot, ...]
    quantization: str = "none"  # of the language model's blocks: none | 4bit
    shards: int = 1  # processes that divide the language model's blocks


def locate(path: str | Path) -> Path:
    """The folder at ``path``, or else the shipped configuration of the model of that name.

    Raises:
        InputError: neither exists.
    """
    path = Path(path)
    if (path / "config.json").is_file():
        return path
    known = {folder.name: folder for folder in sorted(SHIPPED.iterdir()) if folder.is_dir()}
    if path.name.lower() not in known:
        raise unknown("backbone", path.name, known, f"{path} has no config.json")
    return known[path.name.lower()]


def read_config(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The native configuration of a native or published folder, and its preprocessing settings.

    Raises:
        InputError: broken JSON, an architecture that transformers does not know natively.
    """
    from transformers import AutoConfig

    file = folder / "config.json"
    content = read_object(file)
    if content.get("model_type") != "internvl_chat":
        stored = read_object(folder / "preprocessor_config.json")
        try:
            return AutoConfig.from_pretrained(folder), stored
        except Exception as error:  # a wrong config.json fails anywhere in transformers
            raise InputError(f"backbone {folder}: {first_line(error)}") from None
    side = content["force_image_size"]
    stored = {
        "size": {"height": side, "width": side},
        "image_mean": published_internvl.IMAGENET_MEAN,
        "image_std": published_internvl.IMAGENET_STD,
    }
    return published_internvl.native_config(content, str(file)), stored


def empty_model(config: Any) -> nn.Module:
    """The model of a configuration on the meta device: shapes only."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    model.tie_weights()
    return model


def read_architecture(folder: Path, settings: dict[str, Any]) -> tuple[Architecture, Family]:
    """The shape of the backbone in ``folder``, and its family.

    Args:
        settings: the config's ``backbone`` section (image_size, max_tiles).

    Raises:
        InputError: unknown architecture, or one that :func:`describe` cannot describe.
    """
    config, stored = read_config(folder)
    if config.model_type not in families.FAMILIES:
        raise unknown("model family", config.model_type, families.FAMILIES, str(folder))
    family = families.FAMILIES[config.model_type](folder, config, stored, settings)
    return describe(empty_model(config), family, folder.name), family


def describe(model: nn.Module, family: Family, name: str) -> Architecture:
    """The architecture of a model, which may be on the meta device.

    Of an image that keeps its shape (Qwen-VL) each square that becomes a token counts as a tile.
    """
    from torch import nn

    head = model.get_output_embeddings()
    slots = find_slots(model)
    attention = {linear for slot in slots for linear in slot.linears}
    projector: list[Matrix] = []
    mlps: dict[tuple[str, int], list[Matrix]] = {}
    for path, layer in model.named_modules():
        if not isinstance(layer, nn.Linear) or layer is head or path in attention:
            continue
        tower, block = tower_of(path), _BLOCK.search(path)
        if tower and block:
            mlps.setdefault((tower, int(block["block"])), []).append(_matrix(layer))
        elif tower != "llm":
            projector.append(_matrix(layer))
    patch = next(m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d)))
    class_token = any(
        path.endswith(("cls_token", "class_embedding")) for path, _ in model.named_parameters()
    )
    patches = (family.tile // patch.kernel_size[-1]) ** 2
    linears = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    packed = sum(_matrix(layer).size - layer.weight.numel() for layer in linears)  # in 4 bits
    divided = [p for p in model.parameters() if hasattr(p, "device_mesh")]
    return Architecture(
        name=name,
        parameters=sum(p.numel() for p in model.parameters()) + packed,
        **{tower: _blocks(tower, slots, mlps) for tower in TOWERS},
        patch=Matrix(patch.out_channels, patch.weight[0].numel()),
        projector=tuple(projector),
        head=Matrix(*head.weight.shape),
        patches=patches,
        vision_positions=patches + class_token,
        tile_tokens=family.tokens_per_tile,
        slots=tuple(slots),
        quantization="4bit" if packed else "none",
        shards=max((p.device_mesh.size() for p in divided), default=1),
    )


def _matrix(layer: nn.Linear) -> Matrix:
    return Matrix(layer.out_features, layer.in_features)


def _blocks(
    tower: str, slots: list[Slot], mlps: dict[tuple[str, int], list[Matrix]]
) -> tuple[Block, ...]:
    shapes = {slot.key: tuple(Matrix(*shape) for shape in slot.shapes) for slot in slots}
    return tuple(
        Block(
            tower,
            number,
            qkv=shapes[tower, number, "qkv"],
            o=shapes[tower, number, "o"][0],
            mlp=tuple(mlps[tower, number]),
        )
        for number in sorted(block for owner, block in mlps if owner == tower)
    )
