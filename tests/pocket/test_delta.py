"""The delta file's meaning, against PEFT's own merge."""

import pytest
import torch
from torch import nn

from stages.core.base.errors import InputError
from stages.pocket import delta
from stages.pocket.alignment import LowRankLinear


def test_merging_equals_pefts_merge():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 4))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=6, target_modules=["0", "2"]))
    changes = {}
    for name, module in adapted.base_model.model.named_children():
        if hasattr(module, "lora_B"):
            up = module.lora_B["default"].weight
            nn.init.normal_(up)
            changes[f"{name}.weight.lora_A"] = module.lora_A["default"].weight.detach()
            changes[f"{name}.weight.lora_B"] = 3.0 * up.detach()  # alpha / r = 6 / 2
    expected = adapted.merge_and_unload().state_dict()
    merged = delta.apply_delta(state, changes)
    assert merged.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(merged[name].float(), value, atol=1e-6, rtol=1e-6)


def test_what_alignment_extracts_merges_to_the_same_function():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    state = {name: value.clone() for name, value in plain.state_dict().items()}
    plain.requires_grad_(False)
    plain[0] = LowRankLinear(plain[0], rank=2)
    nn.init.normal_(plain[0].lora_B)
    plain[1].requires_grad_(True)
    with torch.no_grad():
        plain[1].weight.add_(1.0)
    changes = delta.extract_delta(plain, torch.float32)
    assert list(changes) == ["0.weight.lora_A", "0.weight.lora_B", "1.bias", "1.weight"]
    merged = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    merged.load_state_dict(delta.apply_delta(state, changes))
    x = torch.randn(3, 6)
    torch.testing.assert_close(merged(x), plain(x))


def test_a_delta_of_another_model_is_refused():
    with pytest.raises(InputError, match="'b' is no weight"):
        delta.apply_delta({"a": torch.zeros(2)}, {"b": torch.zeros(2)})
    with pytest.raises(InputError, match=r"\(3,\).*\(2,\)"):
        delta.apply_delta({"a": torch.zeros(2)}, {"a": torch.zeros(3)})
    pair = {"a.lora_A": torch.zeros(1, 3), "a.lora_B": torch.zeros(2, 1)}
    with pytest.raises(InputError, match=r"\(2, 3\).*\(2, 2\)"):
        delta.apply_delta({"a": torch.zeros(2, 2)}, pair)
