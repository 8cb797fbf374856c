"""ProgLoRA, dynamic: one softmax over all keys, weights per sample, recall of finished tasks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from stages.core.backbone.decoding import generate
from stages.core.backbone.load import load_backbone
from stages.core.base.artifacts import write_weights
from stages.core.base.reading import read_weights
from stages.methods import registry as methods
from stages.methods.layers.pools import Selector, max_prompt_and_image
from tests.conftest import make_row
from tests.helpers import battery

FIRST, SECOND = battery.TASKS[:2]
NAME = "prog_lora_dynamic"
ASKED = ["JKLM NOPQ?", "zzxx 012345 %&", "+*# 6789?", "VWXYZ [vqj]"]  # a token is a letter
UNLIKE = [make_row(i, question, "one") for i, question in enumerate(ASKED)]


@pytest.fixture(scope="module")
def stream(tiny_folder, tmp_path_factory):
    """Both jobs of the tiny stream."""
    out = tmp_path_factory.mktemp(NAME)
    data = battery.write_data(out)
    return {t: battery.train(NAME, t, tiny_folder, data, out) for t in (FIRST, SECOND)}


def notes(trained):
    return json.loads((trained.folder / "mixture.json").read_text())


def tensors(trained):
    """Saved tensors as numpy, under the names they have in the model."""
    return {key.split(":")[1]: value.numpy() for key, value in trained.weights().items()}


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def weights_by_hand(saved, prompts):
    """LayerNorm(W2 SiLU(W1 p)) against all keys, in numpy: ``(n, blocks)``."""
    inner = prompts @ saved["extra.down"].T
    query = (inner / (1 + np.exp(-inner))) @ saved["extra.up"].T
    centred = query - query.mean(-1, keepdims=True)
    query = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    query = query * saved["extra.norm.weight"] + saved["extra.norm.bias"]
    keys = [saved[f"extra.keys.{j}"][0] for j in range(9) if f"extra.keys.{j}" in saved]
    return softmax(query @ np.stack(keys).T / np.sqrt(prompts.shape[1]))


def prompts_by_hand(backbone, rows):
    """Largest entries over the prompt's tokens that are no image, one row at a time."""
    table = backbone.model.get_input_embeddings().weight.detach().numpy()
    image = backbone.model.config.image_token_id
    ids = [backbone.prompter.generation_example(row)["input_ids"] for row in rows]
    return np.stack([table[[i for i in one if i != image]].max(0) for one in ids])


def randomised(trained, tiny_folder, folder):
    """A copy of the saved state with other, large values: weights far from equal."""
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    copied = Path(shutil.copytree(trained.folder, folder / "randomised"))
    stored = read_weights(copied / "mixture.safetensors")[0]
    torch.manual_seed(5)
    for key in stored:
        if ".a." in key or ".b." in key:
            stored[key] = 0.3 * torch.randn_like(stored[key])
        elif "keys" in key or key in ("extra.down", "extra.up"):
            stored[key] = 2 * torch.randn_like(stored[key])
    write_weights(copied / "mixture.safetensors", stored, provenance={})
    saved = methods.load(NAME).load(backbone, {SECOND: copied})
    return backbone, saved, {key: value.numpy() for key, value in stored.items()}


def test_one_softmax_over_all_keys_by_hand():
    torch.manual_seed(0)
    selector = Selector(3, width=6, bottleneck=4, memories=[])
    for parameter in selector.parameters():
        torch.nn.init.normal_(parameter)
    prompts = torch.randn(5, 6)
    saved = {f"extra.{key}": value.numpy() for key, value in selector.state_dict().items()}
    want = weights_by_hand(saved, prompts.numpy())
    assert want.shape == (5, 3)
    np.testing.assert_allclose(selector(prompts).detach(), want, rtol=1e-4)


def test_the_released_codes_query_by_hand():
    """LayerNorm(SiLU(W2 W1 p)), written out in numpy."""
    torch.manual_seed(1)
    selector = Selector(3, width=6, bottleneck=4, memories=[], source="code")
    for parameter in selector.parameters():
        torch.nn.init.normal_(parameter)
    prompts = torch.randn(5, 6)
    w = {key: value.numpy().astype(float) for key, value in selector.state_dict().items()}
    moved = prompts.numpy() @ w["down"].T @ w["up"].T
    bent = moved / (1 + np.exp(-moved))
    centred = bent - bent.mean(1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    scores = (
        (normed * w["norm.weight"] + w["norm.bias"])
        @ np.concatenate([w[f"keys.{i}"] for i in range(3)]).T
        / np.sqrt(6)
    )
    powers = np.exp(scores)
    want = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(selector(prompts).detach(), want, rtol=1e-4)


def test_the_released_code_sees_the_image_and_has_no_recall(tiny, stream):
    """Max over text and image tokens of each sample; the loss is the answers' alone."""
    method = methods.load(NAME)
    settings = battery.config({NAME: {"source": "code"}})
    job = battery.job_of(tiny, SECOND, settings)
    model = method.prepare(tiny, job, {FIRST: stream[FIRST].folder})
    caught = []

    def run(learner, loss, rows):
        caught.append(loss)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        method.fit(model, job, Dataset.from_list(battery.rows_of(SECOND)), run)
    model.model.eval()
    batch = battery.batch_of(tiny, UNLIKE[:3])
    with model.plain() as plain, torch.no_grad():
        inner = plain.get_image_features(pixel_values=batch["pixel_values"]).pooler_output
        words = plain.get_input_embeddings()(batch["input_ids"])
    image = batch["input_ids"] == tiny.model.config.image_token_id
    asked = (batch["labels"] != -100).cumsum(1) == 0
    asked &= batch["attention_mask"].bool() & ~image
    pixels = iter(torch.cat([part.reshape(-1, part.shape[-1]) for part in inner]))
    for b, row in enumerate(max_prompt_and_image(model, batch)):
        own = [words[b, t] for t in range(len(asked[b])) if asked[b, t]]
        own += [next(pixels) for _ in range(int(image[b].sum()))]
        torch.testing.assert_close(row, torch.stack(own).amax(dim=0))
    assert caught[0](batch).item() == pytest.approx(model.answer_loss(batch).item(), rel=1e-5)


def test_recall_by_hand():
    """KL(stored, padded with zeros || now) of two memories under three keys, in numpy."""
    torch.manual_seed(0)
    selector = Selector(3, width=6, bottleneck=4, memories=[2, 4])
    for parameter in selector.parameters():
        torch.nn.init.normal_(parameter)
    saved = {f"extra.{key}": value.numpy() for key, value in selector.state_dict().items()}
    stored, terms = [[1.0], [0.25, 0.75]], []
    for task, allocation in enumerate(stored):
        now = weights_by_hand(saved, saved[f"extra.memories.{task}"])
        p = np.array(allocation)
        terms.append((p * np.log(p / now[:, : len(p)])).sum(1).mean())
    got = selector.recall(stored)
    assert got.item() == pytest.approx(np.mean(terms), rel=1e-4)
    got.backward()
    assert selector.keys[-1].grad.abs().max() > 0
    assert all(p.grad is None for p in [*selector.memories, *selector.keys[:-1]])
    # weights as stored and nothing for the new key: no loss
    assert selector.recall([weights_now(selector, task) for task in (0, 1)]).item() < 0.5


def weights_now(selector, task):
    return selector(selector.memories[task]).mean(dim=0).tolist()


def test_every_slot_mixes_all_blocks_with_the_samples_own_weights(stream, tiny_folder, tmp_path):
    """Reference: of each sample a backbone with W + s sum_j w_j B_j A_j written into it."""
    backbone, saved, state = randomised(stream[SECOND], tiny_folder, tmp_path)
    want_weights = weights_by_hand(state, prompts_by_hand(backbone, UNLIKE))
    assert want_weights.shape == (4, 2)
    assert np.ptp(want_weights[:, 0]) > 0.05  # the samples differ
    batch = backbone.to_device(
        backbone.prompter.collate(
            [backbone.prompter.generation_example(row) for row in UNLIKE], side="left"
        )
    )
    batch.pop("sample_id")
    with saved.using([SECOND]) as model, torch.no_grad():
        got = model(**batch).logits[:, -1]
    for i, row in enumerate(UNLIKE):
        alone = load_backbone(tiny_folder, battery.SETTINGS)
        for slot in alone.slots:
            for linear in slot.linears:
                stem = f"slots.{'_'.join(map(str, slot.key))}.linears.{linear.split('.')[-1]}"
                for j in (0, 1):
                    delta = 2 * state[f"{stem}.b.{j}"] @ state[f"{stem}.a.{j}"]
                    weight = alone.model.get_submodule(linear).weight
                    weight.data += torch.tensor(want_weights[i, j] * delta, dtype=weight.dtype)
        ids = alone.to_device(alone.prompter.collate([alone.prompter.generation_example(row)]))
        ids.pop("sample_id")
        with torch.no_grad():
            want = alone.model(**ids).logits[0, -1]
        torch.testing.assert_close(got[i], want, atol=2e-3, rtol=1e-3)


def test_weights_are_kept_while_decoding(stream, tiny_folder, tmp_path):
    backbone, saved, state = randomised(stream[SECOND], tiny_folder, tmp_path)
    want = weights_by_hand(state, prompts_by_hand(backbone, UNLIKE))
    assert np.ptp(want[:, 0]) > 0.05
    batch = backbone.to_device(
        backbone.prompter.collate(
            [backbone.prompter.generation_example(row) for row in UNLIKE], side="left"
        )
    )
    seen = []
    with saved.using([SECOND]) as model:
        gate = model.model.language_model.layers[1].self_attn.o_proj.gate
        gate.register_forward_hook(lambda module, args, out: seen.append(out[:, 0]))
        generate(model, backbone.prompter, batch, {"max_new_tokens": 4, "min_new_tokens": 4})
    assert len(seen) == 4  # the prompt and three more tokens
    for weights in seen:
        np.testing.assert_allclose(weights, want, atol=1e-4)


def test_only_the_new_block_its_key_and_the_query_net_learn(stream):
    first, second = (stream[task].phases[0].trainable for task in (FIRST, SECOND))
    assert {key.rsplit(".", 1)[1] for key in first} == {"0"}
    blocks = {key for key in second if key.startswith("slots.")}
    assert {key.rsplit(".", 1)[1] for key in blocks} == {"1"}
    net = {"down", "up", "norm.weight", "norm.bias", "keys.1"}
    assert second - blocks == {f"extra.{name}" for name in net}
    before, after = tensors(stream[FIRST]), tensors(stream[SECOND])
    old = [key for key in before if ".a.0" in key or ".b.0" in key or "keys.0" in key]
    assert len(old) == 2 * 2 * 2 * 4 + 1  # a and b of q, k, v, o; two blocks in two towers; a key
    assert all(np.array_equal(before[key], after[key]) for key in old)


def test_what_is_remembered_of_a_task(stream):
    """All ten prompts (64 are asked for), their mean weights at the end of the task."""
    assert notes(stream[FIRST])["allocations"] == [[1.0]]
    for number, task in enumerate((FIRST, SECOND)):
        saved = tensors(stream[task])
        prompts = prompts_by_hand(stream[task].backbone, battery.rows_of(task))
        np.testing.assert_allclose(saved[f"extra.memories.{number}"], prompts, rtol=1e-6)
        want = weights_by_hand(saved, prompts).mean(0)
        np.testing.assert_allclose(notes(stream[task])["allocations"][number], want, rtol=1e-4)
    assert not any("memories.1" in key for key in tensors(stream[FIRST]))


@pytest.fixture
def objective(stream, tiny_folder):
    """The second job's loss before its first step, its weights unequal; with lambda = 3."""
    method = methods.load(NAME)
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    settings = battery.config({NAME: {"recall": 3.0}})
    job = battery.job_of(backbone, SECOND, settings)
    model = method.prepare(backbone, job, {FIRST: stream[FIRST].folder})
    torch.manual_seed(1)
    for parameter in model.extra.keys:
        torch.nn.init.normal_(parameter)
    caught = []

    def run(learner, loss, rows):
        caught.append(loss)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        method.fit(model, job, Dataset.from_list(battery.rows_of(SECOND)), run)
    model.model.eval()
    return model, caught[0]


def test_the_loss_adds_the_recall_once_and_never_sees_the_answer(objective):
    model, loss = objective
    state = {f"extra.{key}": value.numpy() for key, value in model.extra.state_dict().items()}
    rows = UNLIKE[:3]
    whole = battery.batch_of(model.backbone, rows)
    got = loss(whole).item()
    want = weights_by_hand(state, prompts_by_hand(model.backbone, rows))
    np.testing.assert_allclose(model.now.given.detach(), want, rtol=1e-4)
    on_memory = weights_by_hand(state, state["extra.memories.0"])
    recall = -np.log(on_memory[:, 0]).mean()
    assert recall > 0.05
    assert got == pytest.approx(model.answer_loss(whole).item() + 3 * recall, rel=1e-4)
    tokens = (whole["labels"] != -100).sum()
    parts = [battery.batch_of(model.backbone, [row], n_answer_tokens=tokens) for row in rows]
    assert sum(loss(part).item() for part in parts) == pytest.approx(got, rel=1e-4)
