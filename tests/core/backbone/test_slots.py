"""Slots of several architectures, by their published module names."""

import pytest
import torch
from torch import nn

from stages.core.backbone.slots import find_slots
from stages.core.base.errors import InputError


def test_internvl_slots_in_order(tiny):
    keys = [slot.key for slot in tiny.slots]
    blocks = [(m, b, k) for m in ("vision", "llm") for b in (0, 1) for k in ("qkv", "o")]
    assert keys == blocks
    assert [len(slot.linears) for slot in tiny.slots] == [3, 1] * 4
    # language model: 4 query heads and 2 key/value heads of width 8
    assert tiny.slots[4].shapes == ((32, 32), (16, 32), (16, 32))
    assert tiny.slots[4].lora_parameters(4) == 4 * (64 + 48 + 48)


def qwen2_vl():
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    text = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "vocab_size": 300,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
    }
    vision = {"depth": 2, "embed_dim": 32, "num_heads": 4, "hidden_size": 32, "patch_size": 14}
    return Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision))


def test_fused_qkv_is_one_linear():
    slots = find_slots(qwen2_vl())
    vision = [slot for slot in slots if slot.tower == "vision"]
    assert [slot.key[1:] for slot in vision] == [(0, "qkv"), (0, "o"), (1, "qkv"), (1, "o")]
    assert [len(slot.linears) for slot in vision] == [1, 1, 1, 1]
    assert vision[0].shapes == ((96, 32),)


def test_unknown_architecture_lists_its_linears():
    model = nn.Module()
    model.vision_tower = nn.ModuleDict({"mixer": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])})
    with pytest.raises(InputError, match=r"vision tower.*vision_tower\.mixer"):
        find_slots(model)


def test_slot_gradients_cover_each_weight_once(tiny):
    names = [name for slot in tiny.slots for name in slot.linears]
    assert len(names) == len(set(names))
    assert all(isinstance(tiny.model.get_submodule(name), torch.nn.Linear) for name in names)
