"""Experts against plain PEFT and the layer equation."""

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from stages.core.backbone.architecture import locate, read_architecture
from stages.core.backbone.load import load_backbone
from stages.core.backbone.losses import token_losses
from stages.core.base.config import complete
from stages.core.base.errors import InputError
from stages.core.experts.lora import ExpertModel

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 1}


def logits(model, backbone, rows):
    batch = backbone.to_device(
        backbone.prompter.collate([backbone.prompter.training_example(r) for r in rows])
    )
    batch.pop("sample_id")
    with torch.no_grad():
        return model(**batch).logits


def randomised(tiny, name, keys, rank, seed):
    """An expert with random B (a fresh one is zero and would test nothing)."""
    model = ExpertModel(tiny)
    model.add(name, dict.fromkeys(keys, rank), scale=2.0, dropout=0.05, seed=seed)
    model.activate([name], training=name)
    torch.manual_seed(seed + 100)
    for parameter in model.trainable().values():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture
def two_experts(tiny_folder, tmp_path):
    """Folders of two experts on different slots and of different rank."""
    vision_and_llm = [("vision", 1, "qkv"), ("llm", 0, "o")]
    llm_only = [("llm", 0, "o"), ("llm", 1, "qkv")]
    for name, keys, rank in (("one", vision_and_llm, 4), ("two", llm_only, 3)):
        model = randomised(load_backbone(tiny_folder, SETTINGS), name, keys, rank, seed=rank)
        model.save(name, tmp_path / name)
    return tmp_path / "one", tmp_path / "two"


def test_a_folder_gives_plain_peft_the_same_logits(tiny_folder, two_experts, rows):
    backbone = load_backbone(tiny_folder, SETTINGS)
    ours = ExpertModel(backbone)
    ours.load("one", two_experts[0])
    with ours.using(["one"]) as active:
        got = logits(active, backbone, rows)
    other = load_backbone(tiny_folder, SETTINGS)
    plain = PeftModel.from_pretrained(other.model, two_experts[0]).eval()
    want = logits(plain, other, rows)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    assert not torch.allclose(want, logits(load_backbone(tiny_folder, SETTINGS).model, other, rows))


def fused(tiny, keys, seed=0):
    model = ExpertModel(tiny)
    model.add("f", dict.fromkeys(keys, 2), scale=2.0, dropout=0.0, seed=seed, fused=True)
    model.activate(["f"], training="f")
    torch.manual_seed(seed + 100)
    for parameter in model.trainable().values():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def test_a_fused_expert_is_one_update_of_q_k_and_v(tiny_folder, tmp_path, rows):
    """Plain PEFT gives its folder the same logits, and its one A has the gradient of three."""
    keys = [("vision", 0, "qkv"), ("llm", 1, "qkv"), ("llm", 1, "o")]
    backbone = load_backbone(tiny_folder, SETTINGS)
    model = fused(backbone, keys)
    slots = [slot for slot in backbone.slots if slot.key in keys]
    count = sum(2 * (sum(out for out, _ in slot.shapes) + slot.shapes[0][1]) for slot in slots)
    assert sum(p.numel() for p in model.trainable().values()) == count
    model.save("f", tmp_path / "f")

    other = load_backbone(tiny_folder, SETTINGS)
    plain = PeftModel.from_pretrained(other.model, tmp_path / "f", is_trainable=True)
    with model.using(["f"]) as active:
        torch.testing.assert_close(logits(active, backbone, rows), logits(plain, other, rows))

    def gradients(of, built):
        batch = built.to_device(
            built.prompter.collate([built.prompter.training_example(row) for row in rows[:2]])
        )
        token_losses(of, batch)[0].mean().backward()
        return {name: p.grad for name, p in of.named_parameters() if p.grad is not None}

    model.activate(["f"], training="f")
    ours, separate = gradients(model.model, backbone), gradients(plain.eval(), other)
    for name in ("q_proj.lora_A", "o_proj.lora_A"):
        mine = next(g for key, g in ours.items() if f"layers.1.self_attn.{name}" in key)
        parts = ("q_proj", "k_proj", "v_proj") if name.startswith("q") else ("o_proj",)
        summed = sum(
            next(g for key, g in separate.items() if f"layers.1.self_attn.{part}.lora_A" in key)
            for part in parts
        )
        torch.testing.assert_close(mine, summed)


def test_a_fused_expert_that_goes_on_stays_fused(tiny_folder, tmp_path):
    keys = [("llm", 1, "qkv")]
    fused(load_backbone(tiny_folder, SETTINGS), keys).save("f", tmp_path / "f")
    again = fused(load_backbone(tiny_folder, SETTINGS), keys, seed=7)
    again.restore("f", tmp_path / "f")
    again.save("f", tmp_path / "g")
    first, second = (load_file(tmp_path / n / "adapter_model.safetensors") for n in "fg")
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert len([p for key, p in again.trainable().items() if "lora_A" in key]) == 1


def test_the_papers_parameters_on_internvl2_2b():
    """8 (in + out) of each tower: one update of q, k and v, or one of each."""
    folder = locate("internvl2-2b")
    slots = read_architecture(folder, complete_backbone())[0].slots
    vision = {True: (1024 + 3072) + 2 * 1024, False: (3 * 1024 + 3072) + 2 * 1024}
    language = {True: (2048 + 4096) + 2 * 2048, False: (3 * 2048 + 4096) + 2 * 2048}
    for fused, millions in ((True, 3.15), (False, 4.33)):
        found = sum(slot.lora_parameters(8, fused=fused) for slot in slots)
        assert found == 24 * 8 * (vision[fused] + language[fused])
        assert round(found / 1e6, 2) == millions


def complete_backbone():
    config = {"stream": "s", "manifests": "m", "tasks": ["a"], "backbone": {"path": "p"}}
    return complete(config, "test")["backbone"]


def test_two_experts_are_summed(tiny_folder, two_experts, rows):
    """Reference: both deltas added into the weights by hand, W + s B A of each expert."""
    backbone = load_backbone(tiny_folder, SETTINGS)
    ours = ExpertModel(backbone)
    for folder in two_experts:
        ours.load(folder.name, folder)
    with ours.using(["two", "one"]) as active:
        got = logits(active, backbone, rows)

    merged = load_backbone(tiny_folder, SETTINGS)
    for folder in two_experts:
        weights = load_file(folder / "adapter_model.safetensors")
        for key in [k for k in weights if k.endswith("lora_A.weight")]:
            name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            delta = 2.0 * weights[key.replace("lora_A", "lora_B")] @ weights[key]
            merged.model.get_submodule(name).weight.data += delta
    torch.testing.assert_close(got, logits(merged.model, merged, rows), atol=1e-5, rtol=0)


def test_no_expert_is_the_untouched_backbone(tiny_folder, two_experts, rows):
    backbone = load_backbone(tiny_folder, SETTINGS)
    before = logits(backbone.model, backbone, rows)
    ours = ExpertModel(backbone)
    ours.load("one", two_experts[0])
    with ours.using([]) as active:
        assert torch.equal(logits(active, backbone, rows), before)


def test_only_the_expert_in_training_learns_and_only_it_drops_out(tiny, two_experts, rows):
    model = ExpertModel(tiny)
    model.load("one", two_experts[0])
    model.add("new", {("llm", 1, "o"): 2}, scale=2.0, dropout=0.5, seed=0)
    model.activate(["one", "new"], training="new")
    assert {name.split(".")[-2] for name in model.trainable()} == {"new"}
    model.peft.train()
    dropouts = {
        name.rsplit(".", 1)[-1]: module.p
        for name, module in model.peft.named_modules()
        if isinstance(module, torch.nn.Dropout) and "lora_dropout" in name
    }
    assert dropouts == {"new": 0.5}


def test_nothing_below_the_lowest_trainable_slot_is_on_the_tape(tiny, rows):
    model = ExpertModel(tiny)
    model.add("new", {("llm", 1, "o"): 2}, scale=2.0, dropout=0.0, seed=0)
    model.activate(["new"], training="new")
    seen = {}
    for name in ("model.language_model.layers.0", "model.language_model.layers.1"):
        tiny.model.get_submodule(name).register_forward_hook(
            lambda m, i, o, name=name: seen.__setitem__(
                name[-1], (o[0] if isinstance(o, tuple) else o).requires_grad
            )
        )
    batch = tiny.to_device(
        tiny.prompter.collate([tiny.prompter.training_example(r) for r in rows[:2]])
    )
    model.answer_loss(batch)
    assert seen == {"0": False, "1": True}


def test_only_labelled_positions_reach_the_head(tiny, rows):
    counted = []
    tiny.model.lm_head.register_forward_hook(lambda m, i, o: counted.append(o.shape[:-1].numel()))
    batch = tiny.to_device(tiny.prompter.collate([tiny.prompter.training_example(r) for r in rows]))
    losses, owner = token_losses(tiny.model, batch)
    answers = int((batch["labels"] != -100).sum())
    assert counted == [answers]
    assert losses.shape == owner.shape == (answers,)
    # independent: transformers' own loss is the mean over the same tokens
    want = tiny.model(**{k: v for k, v in batch.items() if k != "sample_id"}).loss
    torch.testing.assert_close(losses.mean(), want)


def test_restore_refuses_other_shapes(tiny, two_experts):
    model = ExpertModel(tiny)
    model.add("x1", {("llm", 0, "o"): 4}, scale=2.0, dropout=0.0, seed=0)
    with pytest.raises(InputError, match="slots or ranks differ"):
        model.restore("x1", two_experts[0])


def test_a_damaged_folder_is_named(tiny, two_experts):
    (two_experts[0] / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"one: missing adapter_model\.safetensors"):
        ExpertModel(tiny).load("one", two_experts[0])


def test_an_expert_of_another_backbone_does_not_fit(tiny, two_experts):
    path = two_experts[1] / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"] = [m for m in config["target_modules"] if "o_proj" not in m]
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="does not fit"):
        ExpertModel(tiny).load("two", two_experts[1])


def test_no_slot_is_an_error(tiny):
    with pytest.raises(InputError, match="no slot"):
        ExpertModel(tiny).add("empty", {}, scale=2.0, dropout=0.0, seed=0)
