"""Mixtures against their equations, merged weights and hand-made numbers."""

import json
import math

import numpy as np
import pytest
import torch

from stages.core.backbone.decoding import generate
from stages.core.backbone.load import load_backbone
from stages.core.base.errors import InputError
from stages.core.experts.gates import (
    SampleGate,
    SequenceGate,
    TokenGate,
    balance_loss,
    keep_top,
)
from stages.core.experts.mixtures import LowRank, Mixture, read_state
from stages.core.experts.ranks import slot_name, split, spread
from stages.core.experts.saved_mixtures import SavedMixtures
from stages.methods.layers.embeddings import TaskKeys, mean_embeddings
from tests.helpers.tiny_families import write_backbone

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 1}
LIMITS = {"max_new_tokens": 6, "min_new_tokens": 6}
SCALE = 2.0


def fill(module, seed=1, std=0.3):
    """Random values everywhere (a fresh B is zero and would test nothing)."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=std)


def mixed(backbone, ranks, gate, **more):
    mixture = Mixture(backbone, ranks, gate, scale=SCALE, dropout=0.0, **more)
    fill(mixture.slots)
    mixture.model.eval()
    return mixture


def on_all(backbone, ranks):
    return {slot_name(slot): list(ranks) for slot in backbone.slots}


def token_router(top_k=None, balanced=False):
    return lambda slot, experts: TokenGate(slot.shapes[0][1], experts, top_k, balanced)


def prompts(backbone, rows, side="left"):
    batch = backbone.to_device(
        backbone.prompter.collate(
            [backbone.prompter.generation_example(row) for row in rows], side=side
        )
    )
    batch.pop("sample_id")
    return batch


def training_batch(backbone, rows):
    batch = backbone.to_device(
        backbone.prompter.collate([backbone.prompter.training_example(row) for row in rows])
    )
    batch.pop("sample_id")
    return batch


def last_logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits[:, -1]


def watched(mixture, slot, linear):
    """Input and output of one linear of the model in the next pass."""
    seen = {}
    layer = mixture.backbone.model.get_submodule(
        next(
            n
            for s in mixture.backbone.slots
            if slot_name(s) == slot
            for n in s.linears
            if n.endswith(linear)
        )
    )
    layer.register_forward_hook(lambda m, args, y: seen.update(x=args[0], y=y))
    return seen, layer.base_layer


# --- gates ---


def reference_keep_top(shares, count):
    """Row by row, in plain Python."""
    kept = []
    for row in shares:
        best = sorted(range(len(row)), key=lambda i: -row[i])[:count]
        total = sum(row[i] for i in best)
        kept.append([row[i] / total if i in best else 0.0 for i in range(len(row))])
    return np.array(kept)


def test_the_best_shares_are_kept_and_sum_to_one():
    shares = torch.rand(5, 4).softmax(-1)
    for count in (1, 2, 3):
        want = reference_keep_top(shares.tolist(), count)
        np.testing.assert_allclose(keep_top(shares, count), want, rtol=1e-6)
    for count in (None, 4, 9):
        assert torch.equal(keep_top(shares, count), shares)


def test_balance_loss_by_hand():
    """Three tokens, two experts, top 1: expert 0 takes two of three. P = (0.6, 0.4)."""
    shares = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    got = balance_loss(shares, keep_top(shares, 1))
    assert got == pytest.approx(2 * (2 / 3 * 0.6 + 1 / 3 * 0.4))
    # of two choices each token makes, all experts of two are chosen equally often
    assert balance_loss(shares, keep_top(shares, 2)) == pytest.approx(1.0)


@pytest.mark.parametrize("top_k", [None, 2])
def test_token_mixture_equation(tiny, rows, top_k):
    """numpy: y = W x + b + s sum_i w_i B_i A_i x for every token, ranks 3, 1, 2."""
    mixture = mixed(tiny, on_all(tiny, [3, 1, 2]), token_router(top_k))
    for slot, linear in (("llm_1_qkv", "k_proj"), ("vision_0_o", "projection_layer")):
        seen, base = watched(mixture, slot, linear)
        last_logits(mixture.model, prompts(tiny, rows[:3]))
        place = mixture.slots[slot]
        low = place.linears[linear]
        x = seen["x"].reshape(-1, seen["x"].shape[-1]).numpy().astype(float)
        scores = x @ place.gate.weight.detach().numpy().T
        weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        if top_k:
            weights = reference_keep_top(weights, top_k)
        want = x @ base.weight.numpy().T + (0 if base.bias is None else base.bias.numpy())
        for i, (a, b) in enumerate(zip(low.a, low.b, strict=True)):
            delta = x @ a.detach().numpy().T @ b.detach().numpy().T
            want = want + SCALE * weights[:, i, None] * delta
        got = seen["y"].reshape(want.shape).numpy()
        np.testing.assert_allclose(got, want, atol=2e-4)
        assert np.abs(want - (x @ base.weight.numpy().T)).max() > 0.1


def test_the_linears_of_a_slot_share_one_router(tiny):
    mixture = mixed(tiny, {"llm_0_qkv": [1, 1]}, token_router())
    attention = tiny.model.model.language_model.layers[0].self_attn
    assert attention.q_proj.gate is attention.k_proj.gate is attention.v_proj.gate
    # A and B of two rank-1 experts on q (32 -> 32), k and v (32 -> 16), one router of 2 x 32
    count = sum(p.numel() for p in mixture.trainable().values())
    assert count == 2 * (64 + 48 + 48) + 64


def test_sequence_router_uses_the_first_real_token_and_the_router_of_the_sample(tiny, rows):
    mixture = mixed(
        tiny,
        on_all(tiny, [2] * 4),
        lambda slot, n: SequenceGate(slot.shapes[0][1], n, tasks=2, top_k=2),
        one_a=True,
    )
    tasks = torch.tensor([1, 0, 1])
    mixture.describe = lambda inputs: tasks
    batch = prompts(tiny, rows[:3])
    starts = [int((row == 0).sum()) for row in batch["attention_mask"]]
    assert len(set(starts)) > 1  # padded on the left by different lengths
    for slot, first in (("llm_1_qkv", starts), ("vision_1_qkv", [0, 0, 0])):
        seen, base = watched(mixture, slot, "k_proj")
        last_logits(mixture.model, batch)
        place = mixture.slots[slot]
        low = place.linears["k_proj"]
        a = low.a[0].detach().numpy()
        for row in range(3):
            x = seen["x"][row].numpy()
            scores = place.gate.routers[tasks[row]].detach().numpy() @ x[first[row]]
            shares = np.exp(scores) / np.exp(scores).sum()
            weights = reference_keep_top([shares], 2)[0]
            delta = sum(w * b.detach().numpy() for w, b in zip(weights, low.b, strict=True)) @ a
            want = torch.nn.functional.linear(seen["x"][row], base.weight, base.bias).numpy()
            want = want + SCALE * x @ delta.T
            np.testing.assert_allclose(seen["y"][row].numpy(), want, atol=2e-4)


# --- per-sample weights ---


def merged(folder, mixture, expert):
    """A fresh backbone with one expert added into its weights: W + s B A."""
    backbone = load_backbone(folder, SETTINGS)
    for slot in backbone.slots:
        for name in slot.linears:
            low = mixture.slots[slot_name(slot)].linears[name.rpartition(".")[2]]
            delta = SCALE * low.b[expert].detach() @ low.a[expert].detach()
            backbone.model.get_submodule(name).weight.data += delta
    return backbone


@pytest.fixture
def three_samples(rows):
    """Two images, no image, one image."""
    first, second, third = (dict(row) for row in rows[:3])
    first["images"] = first["images"] + rows[3]["images"]
    second["images"] = []
    return [first, second, third]


def sample_mixture(tiny):
    return mixed(tiny, on_all(tiny, [2, 3]), lambda slot, n: SampleGate())


def test_every_sample_has_its_own_weights_in_both_towers(tiny, tiny_folder, three_samples):
    mixture = sample_mixture(tiny)
    chosen = [1, 0, 1]
    mixture.describe = lambda inputs: torch.eye(2)[chosen]
    got = last_logits(mixture.model, prompts(tiny, three_samples))
    for row, expert in enumerate(chosen):
        alone = merged(tiny_folder, mixture, expert)
        want = last_logits(alone.model, prompts(alone, three_samples[row : row + 1]))
        torch.testing.assert_close(got[row : row + 1], want, atol=1e-3, rtol=1e-3)
        other = merged(tiny_folder, mixture, 1 - expert)
        wrong = last_logits(other.model, prompts(other, three_samples[row : row + 1]))
        assert not torch.allclose(wrong, want, atol=0.1)


def test_weights_are_found_once_and_kept_while_decoding(tiny, tiny_folder, rows):
    mixture = sample_mixture(tiny)
    calls = []

    def describe(inputs):
        calls.append(inputs["input_ids"].shape)
        return torch.eye(2)[[0, 1]]

    mixture.describe = describe
    batch = prompts(tiny, rows[:2])
    got = generate(mixture.model, tiny.prompter, batch, LIMITS)
    assert calls == [batch["input_ids"].shape]
    for row in (0, 1):
        alone = merged(tiny_folder, mixture, row)
        inputs = prompts(alone, rows[row : row + 1])
        assert generate(alone.model, alone.prompter, inputs, LIMITS) == got[row : row + 1]


def test_a_tower_that_packs_its_tiles_is_refused(tiny):
    mixture = sample_mixture(tiny)
    mixture.now.owner, mixture.now.given = torch.tensor([0, 0]), torch.ones(1, 2)
    with pytest.raises(InputError, match="one row per image tile in the vision tower"):
        mixture.slots["vision_0_o"].gate(torch.zeros(50, 32))


# --- layers ---


def test_dropout_is_on_what_learns_only():
    low = LowRank((5, 64), [2, 2], dropout=0.5, a=None)
    fill(low)
    x, weights = torch.randn(1, 3, 64), torch.tensor([[[1.0, 0.0]]])
    clean = low.eval()(x, weights)
    assert not torch.allclose(low.train()(x, weights), clean)
    low.a[0].requires_grad_(False)
    torch.testing.assert_close(low(x, weights), clean)
    assert not torch.allclose(low(x, weights.flip(-1)), low.eval()(x, weights.flip(-1)))


def test_a_fresh_mixture_and_a_removed_one_are_the_backbone(tiny, tiny_folder, rows):
    untouched = load_backbone(tiny_folder, SETTINGS)
    batch = prompts(tiny, rows[:2])
    want = last_logits(untouched.model, batch)
    mixture = Mixture(tiny, on_all(tiny, [1, 1]), token_router(), scale=SCALE, dropout=0.0)
    mixture.model.eval()
    torch.testing.assert_close(last_logits(mixture.model, batch), want)
    fill(mixture.slots)
    assert not torch.allclose(last_logits(mixture.model, batch), want, atol=0.1)
    with mixture.using([]) as plain:
        assert torch.equal(last_logits(plain, batch), want)
    mixture.remove()
    assert torch.equal(last_logits(tiny.model, batch), want)
    assert [n for n, _ in tiny.model.named_parameters()] == [
        n for n, _ in untouched.model.named_parameters()
    ]


def test_only_the_mixture_learns_in_float32(tiny, rows):
    tiny.model.bfloat16()
    mixture = Mixture(tiny, on_all(tiny, [1, 1]), token_router(2), scale=SCALE, dropout=0.0)
    assert {p.dtype for p in mixture.trainable().values()} == {torch.float32}
    assert not any(
        p.requires_grad for n, p in mixture.model.named_parameters() if "base_layer" in n
    )
    batch = training_batch(tiny, rows[:2])
    batch["pixel_values"] = batch["pixel_values"].bfloat16()
    mixture.answer_loss(batch).backward()
    last = mixture.slots["llm_1_o"].linears["o_proj"]
    assert last.b[0].grad.abs().sum() > 0


def test_balance_counts_real_tokens_only(tiny, rows):
    """The same samples with more padding: the same loss."""
    mixture = mixed(tiny, on_all(tiny, [1, 1, 1]), token_router(2, balanced=True))
    mixture.model.train()
    losses = []
    for extra in (0, 7):
        batch = prompts(tiny, rows[:1], side="right")
        pad = torch.zeros(1, extra, dtype=torch.long)
        for key in ("input_ids", "attention_mask"):
            batch[key] = torch.cat([batch[key], pad], dim=1)
        last_logits(mixture.model, batch)
        losses.append(mixture.balance())
    torch.testing.assert_close(losses[0], losses[1])
    assert losses[0] >= len(mixture.slots) * 0.5


# --- disk ---


def test_saved_states_take_turns_in_the_slots(tiny, tiny_folder, tmp_path, rows):
    batch, want = prompts(tiny, rows[:2]), {}
    for seed, name in enumerate(("a", "b")):
        mixture = mixed(tiny, on_all(tiny, [2, 1]), token_router(), notes={"top_k": None})
        fill(mixture.slots, seed)
        want[name] = last_logits(mixture.model, batch)
        mixture.save(tmp_path / name)
        mixture.remove()
    backbone = load_backbone(tiny_folder, SETTINGS)

    def build(backbone, notes):
        gate = token_router(notes["top_k"])
        return Mixture(backbone, notes["ranks"], gate, scale=notes["scale"], dropout=0.0)

    saved = SavedMixtures(backbone, {n: tmp_path / n for n in want}, build)
    for name in ("b", "a", "b"):
        with saved.using([name]) as model:
            assert torch.equal(last_logits(model, batch), want[name])
            assert not any(p.requires_grad for p in model.parameters())
    untouched = load_backbone(tiny_folder, SETTINGS)
    with saved.using([]) as model:
        assert torch.equal(last_logits(model, batch), last_logits(untouched.model, batch))


def test_equal_mixtures_have_equal_bytes(tiny_folder, tmp_path):
    for name in ("x", "y"):
        backbone = load_backbone(tiny_folder, SETTINGS)
        ranks = on_all(backbone, [1, 2])
        Mixture(backbone, ranks, token_router(), scale=SCALE, dropout=0.1, seed=5).save(
            tmp_path / name
        )
    for file in ("mixture.safetensors", "mixture.json"):
        assert (tmp_path / "x" / file).read_bytes() == (tmp_path / "y" / file).read_bytes()


def test_states_that_do_not_fit_are_refused(tiny, tmp_path):
    mixture = mixed(tiny, {"llm_0_o": [2, 2]}, token_router())
    mixture.save(tmp_path / "s")
    tensors = read_state(tmp_path / "s")[1]
    mixture.remove()
    for ranks in ([2, 1], [2]):
        other = mixed(tiny, {"llm_0_o": ranks}, token_router())
        with pytest.raises(InputError, match=r"s: slots, ranks or experts differ.*llm_0_o"):
            other.restore(tensors, tmp_path / "s")
        other.remove()
    larger = mixed(tiny, {"llm_0_o": [2, 2], "llm_1_o": [1]}, token_router())
    with pytest.raises(InputError, match="llm_1_o"):
        larger.restore(tensors, tmp_path / "s")
    larger.restore(tensors, tmp_path / "s", grown=True)
    kept = larger.slots["llm_0_o"].linears["o_proj"].b[1]
    assert torch.equal(kept, tensors["slots.llm_0_o.linears.o_proj.b.1"])
    larger.remove()
    with pytest.raises(InputError, match=r"unknown slot 'llm_7_o'.*llm_1_o"):
        mixed(tiny, {"llm_7_o": [1]}, token_router())
    (tmp_path / "s" / "mixture.json").unlink()
    with pytest.raises(InputError, match=r"mixture\.json: file not found"):
        read_state(tmp_path / "s")


# --- prompts ---


def test_embeddings_are_the_same_in_training_and_at_test(tiny, tiny_folder, three_samples):
    """Means over image tokens and over the prompt's text, by hand from the plain backbone."""
    mixture = sample_mixture(tiny)
    plain = load_backbone(tiny_folder, SETTINGS)
    got = mean_embeddings(mixture, training_batch(tiny, three_samples))
    again = mean_embeddings(mixture, prompts(tiny, three_samples))
    torch.testing.assert_close(got, again)
    table = plain.model.get_input_embeddings().weight
    for row, sample in enumerate(three_samples):
        example = plain.prompter.generation_example(sample)
        words = [i for i in example["input_ids"] if i != plain.model.config.image_token_id]
        torch.testing.assert_close(got[row, 1], table[words].mean(dim=0))
        image = torch.zeros(32)
        if sample["images"]:
            tower = plain.model.model
            tiles = plain.prompter.images.normalised(example["pixel_values"])
            with torch.no_grad():
                image = tower.get_image_features(pixel_values=tiles)
            image = image.pooler_output.reshape(-1, 32).mean(dim=0)
        torch.testing.assert_close(got[row, 0], image)


def test_keys_start_at_the_mean_direction_and_choose_the_nearest_task():
    keys = TaskKeys(tasks=3, width=4)
    assert [k.requires_grad for k in keys.keys] == [False, False, True]
    axes = torch.eye(4)
    for task in range(3):
        keys.keys[task].data = torch.stack([axes[task], axes[3 - task]])
    image, text = axes[2], axes[3]  # as the image of task 2, as the text of task 0
    undecided = torch.stack([image, 0.9 * text + axes[1]])
    assert keys.nearest(torch.stack([image, axes[1]])[None]).tolist() == [2]
    assert keys.nearest(torch.stack([axes[0], text])[None]).tolist() == [0]
    # image speaks for 2 (1.0) and text for 2 (axes[1], 0.743) more than for 0 (0.669)
    assert keys.nearest(undecided[None]).tolist() == [2]
    keys.start(torch.stack([axes[:2] * 5, axes[[0, 2]]]))
    want = torch.stack([axes[0] * 2, (axes[1] + axes[2]) * math.sqrt(2)])  # norm sqrt(4)
    torch.testing.assert_close(keys.keys[2].data, want)
    # 1 - cos is 0 and 1 - 1/sqrt 2
    assert keys.distance(axes[:2][None]).item() == pytest.approx(1 - math.sqrt(0.5))


# --- budget ---


def test_ranks_are_spread_evenly_and_meet_the_budget():
    units = {f"s{i}": (100, 30)[i % 2] for i in range(40)}
    least = dict.fromkeys(units, 3)
    ranks = spread(units, least, budget=3.4 * 20 * 130)
    assert set(ranks.values()) == {3, 4, 5}  # a cheap slot settles what a dear one leaves
    assert abs(sum(ranks[k] * units[k] for k in units) - 3.4 * 20 * 130) <= 50
    half = list(units)[:20]
    assert abs(sum(ranks[k] * units[k] for k in half) - 1.7 * 20 * 130) <= 50
    assert spread(units, least, budget=1) == least


def test_a_slots_rank_is_split_evenly():
    assert split(7, 3) == [3, 2, 2]
    assert split(4, 4) == [1, 1, 1, 1]


def test_the_state_describes_itself(tiny, tmp_path):
    mixture = mixed(tiny, {"llm_0_o": [2, 1]}, token_router(), notes={"top_k": 1})
    mixture.save(tmp_path / "s")
    notes = json.loads((tmp_path / "s" / "mixture.json").read_text())
    assert notes == {"ranks": {"llm_0_o": [2, 1]}, "scale": 2.0, "one_a": False, "top_k": 1}


# --- families of backbones ---


@pytest.fixture
def family(request, tmp_path):
    """A tiny backbone of another architecture than InternVL."""
    write_backbone(request.param, tmp_path / request.param)
    return load_backbone(tmp_path / request.param, SETTINGS | {"max_tiles": 4})


ALL = ["gemma3", "llava", "llava_next", "llava_onevision", "smolvlm", "qwen2_5_vl", "qwen3_vl"]
TILED = ALL[:5]  # their vision encoders have one row per tile


@pytest.mark.parametrize("family", ALL, indirect=True)
def test_tokens_are_routed_in_every_family(family, three_samples):
    mixture = mixed(family, on_all(family, [1, 1]), token_router())
    got = last_logits(mixture.model, prompts(family, three_samples))
    for row, sample in enumerate(three_samples):
        alone = last_logits(mixture.model, prompts(family, [sample]))
        torch.testing.assert_close(got[row : row + 1], alone, atol=1e-3, rtol=1e-3)
    together = mean_embeddings(mixture, training_batch(family, three_samples))
    alone = [mean_embeddings(mixture, prompts(family, [sample])) for sample in three_samples]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", TILED, indirect=True)
def test_samples_are_weighted_in_families_with_tiles(family, three_samples):
    mixture = mixed(family, on_all(family, [1, 2]), lambda slot, n: SampleGate())
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    mixture.describe = lambda inputs: weights
    got = last_logits(mixture.model, prompts(family, three_samples))
    for row, sample in enumerate(three_samples):
        mixture.describe = lambda inputs, row=row: weights[row : row + 1]
        alone = last_logits(mixture.model, prompts(family, [sample]))
        torch.testing.assert_close(got[row : row + 1], alone, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", ["qwen2_vl"], indirect=True)
def test_samples_cannot_be_weighted_where_tiles_are_packed(family, three_samples):
    mixture = mixed(family, on_all(family, [1, 2]), lambda slot, n: SampleGate())
    mixture.describe = lambda inputs: torch.ones(3, 2)
    with pytest.raises(InputError, match="one row per image tile in the vision tower"):
        last_logits(mixture.model, prompts(family, three_samples))
