"""BranchLoRA: shared A, frozen branches, keys that choose a sample's router."""

import json
import re

import numpy as np
import pytest
import torch
from datasets import Dataset

from stages.core.backbone.load import load_backbone
from stages.core.backbone.losses import token_losses
from stages.methods import registry as methods
from stages.methods.layers.branches import activity, build
from stages.methods.layers.embeddings import mean_embeddings
from tests.helpers import battery

THINGS, PLACES = battery.TASKS


@pytest.fixture(scope="module")
def stream(tiny_folder, tmp_path_factory):
    """Both jobs of the tiny stream."""
    out = tmp_path_factory.mktemp("branch_lora")
    data = battery.write_data(out)
    return {t: battery.train("branch_lora", t, tiny_folder, data, out) for t in battery.TASKS}


def notes(trained):
    return json.loads((trained.folder / "mixture.json").read_text())


def prompts(backbone, rows):
    batch = backbone.to_device(
        backbone.prompter.collate(
            [backbone.prompter.generation_example(row) for row in rows], side="left"
        )
    )
    batch.pop("sample_id")
    return batch


def test_one_a_and_eight_branches_a_slot(stream):
    weights = stream[THINGS].weights()
    for slot in stream[THINGS].backbone.slots:
        name = "_".join(map(str, slot.key))
        mine = [key for key in weights if f"slots.{name}." in key]
        assert len([key for key in mine if ".a." in key]) == 1  # q, k and v share it
        assert len([key for key in mine if ".b." in key]) == 8 * len(slot.linears)
    # rank 1: A 32 and eight B as long as the slot's outputs; a router of 8 x 32; two keys of 32
    outputs = 2 * (96 + 32 + 64 + 32)
    want = 8 * 32 + 8 * outputs + 8 * 8 * 32 + 2 * 32
    assert stream[THINGS].summary["trainable_parameters"] == want


def test_the_two_most_active_branches_are_frozen(stream, tiny_folder):
    """Activity by hand: mean softmax of the router on the first token of every training prompt
    (the samples of the language model) and of every tile."""
    trained = stream[THINGS]
    saved = notes(trained)
    assert saved["tasks"] == [THINGS]
    model = trained.learner
    model.model.eval()
    first = {}
    for slot in trained.backbone.slots:
        name = "_".join(map(str, slot.key))
        layer = trained.backbone.model.get_submodule(slot.linears[0])

        def kept(module, args, output, name=name):
            if not module.gate.now.plain:  # the keys look at the image without experts
                first.setdefault(name, []).append(args[0][0, 0])

        layer.register_forward_hook(kept)
    for row in battery.rows_of(THINGS):  # one at a time: no padding
        with torch.no_grad():
            model.model(**prompts(trained.backbone, [row]))
    weights = trained.weights()
    for name, tokens in first.items():
        router = weights[f"mixture.safetensors:slots.{name}.gate.routers.0"].numpy()
        scores = torch.stack(tokens).numpy() @ router.T
        shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        assert saved["frozen"][name] == sorted(np.argsort(-shares.mean(0))[:2].tolist())
        assert len(tokens) == 10


def test_frozen_branches_stay_and_the_others_learn(stream):
    before, after = stream[THINGS].weights(), stream[PLACES].weights()
    frozen = notes(stream[THINGS])["frozen"]
    moved = 0
    for key in [k for k in after if ".b." in k]:
        slot, branch = re.search(r"slots\.(\w+)\.linears\.\w+\.b\.(\d+)", key).groups()
        same = torch.equal(before[key], after[key])
        assert same or int(branch) not in frozen[slot]
        moved += not same
    assert moved
    assert any(not torch.equal(before[k], after[k]) for k in before if ".a." in k)
    for key in (k for k in before if ".routers." in k or ".keys." in k):
        assert torch.equal(before[key], after[key])
    assert sorted({k.rpartition(".")[2] for k in after if ".routers." in k}) == ["0", "1"]
    # 8 - 2 branches learn in task b
    trainable = stream[PLACES].phases[0].trainable
    for slot in frozen:
        learning = {k for k in trainable if f"{slot}.linears" in k and ".b." in k}
        assert {int(k.rpartition(".")[2]) for k in learning} == set(range(8)) - set(frozen[slot])


def test_frozen_branches_accumulate_and_can_be_frozen_again(stream):
    first, second = notes(stream[THINGS])["frozen"], notes(stream[PLACES])["frozen"]
    assert first.keys() == second.keys()
    for slot in first:
        assert set(first[slot]) <= set(second[slot])
        assert 2 <= len(second[slot]) <= 4


def test_two_branches_of_a_token_and_the_same_for_the_whole_sequence(stream):
    trained = stream[PLACES]
    seen = []
    hooks = [
        slot.gate.register_forward_hook(lambda m, args, w: seen.append(w))
        for slot in trained.learner.slots.values()
    ]
    with torch.no_grad():
        trained.learner.model.eval()(**prompts(trained.backbone, battery.rows_of(PLACES)[:3]))
    for hook in hooks:
        hook.remove()
    for weights in seen:
        assert weights.shape[1:] == (1, 8)
        assert ((weights > 0).sum(-1) == 2).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(len(weights), 1))


def test_the_nearest_keys_choose_the_router_of_each_sample(stream, tiny_folder):
    """A batch of both tasks; embeddings and cosines by hand on the plain backbone."""
    trained = stream[PLACES]
    rows = battery.rows_of(THINGS)[:3] + battery.rows_of(PLACES)[:3]
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    saved = methods.load("branch_lora").load(backbone, {PLACES: trained.folder})
    weights = trained.weights()
    keys = [weights[f"mixture.safetensors:extra.keys.{t}"] for t in (0, 1)]
    plain = load_backbone(tiny_folder, battery.SETTINGS)
    want = []
    for row in rows:
        example = plain.prompter.generation_example(row)
        words = [i for i in example["input_ids"] if i != plain.model.config.image_token_id]
        with torch.no_grad():
            tiles = plain.prompter.images.normalised(example["pixel_values"])
            image = plain.model.model.get_image_features(pixel_values=tiles)
            text = plain.model.get_input_embeddings().weight[words].mean(0)
        pair = image.pooler_output.reshape(-1, 32).mean(0), text
        sums = [
            sum(float(e @ k / e.norm() / k.norm()) for e, k in zip(pair, key, strict=True))
            for key in keys
        ]
        want.append(int(np.argmax(sums)))
    with torch.no_grad(), saved.using([PLACES]) as model:
        gate = model.model.language_model.layers[1].self_attn.o_proj.gate
        model(**prompts(backbone, rows))
        assert gate.now.given.tolist() == want
        shares = gate.shares.clone()
    assert set(want) == {0, 1}
    # the first token is the same for all samples: shares depend on the task alone
    for task in (0, 1):
        same = shares[[row for row, t in enumerate(want) if t == task]]
        torch.testing.assert_close(same, same[:1].expand_as(same), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(shares[want.index(0)], shares[want.index(1)], atol=1e-3)


def test_the_loss_adds_the_cosine_distance_to_the_new_keys(tiny, rows):
    """Only the task's own keys get its gradient."""
    method = methods.load("branch_lora")
    settings = battery.config({"branch_lora": {"key_loss": 0.7}})
    job = battery.job_of(tiny, THINGS, settings)
    model = method.prepare(tiny, job, {})
    losses = []
    data = [dict(row) for row in rows]

    def run(module, loss, given):
        assert module is model
        batch = battery.batch_of(tiny, rows[:2], n_answer_tokens=100)
        losses.append((loss(batch), token_losses(model.eval().model, batch)[0]))
        return []

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    method.fit(model, job, Dataset.from_list(data), run)
    key = model.extra.keys[0].detach()
    away = 0.0
    for pair in mean_embeddings(model, battery.batch_of(tiny, rows[:2])):
        away += sum(1 - float(e @ k / e.norm() / k.norm()) for e, k in zip(pair, key, strict=True))
    ((loss, answers),) = losses
    share = len(answers) / 100
    want = float(answers.detach().sum()) / 100 + 0.7 * away / 2 * share
    assert loss.item() == pytest.approx(want, rel=1e-5)
    assert key.norm(dim=-1).tolist() == pytest.approx([32**0.5] * 2)


def test_a_slot_without_a_branch_left_is_warned_of(tiny, tmp_path):
    """Router, keys and A still learn."""
    settings = battery.config({"branch_lora": {"branches": 2}})
    method = methods.load("branch_lora")
    model = method.prepare(tiny, battery.job_of(tiny, THINGS, settings), {})
    model.notes["frozen"] = {name: [0, 1] for name in model.slots}
    model.save(tmp_path / THINGS)
    model.remove()
    with pytest.warns(UserWarning, match="all branches of 8 slots are frozen"):
        model = method.prepare(
            tiny, battery.job_of(tiny, PLACES, settings), {THINGS: tmp_path / THINGS}
        )
    kinds = {re.sub(r"\d+", "N", name.rpartition("linears")[2]) for name in model.trainable()}
    assert not any(".b." in kind for kind in kinds)
    assert any(".a." in kind for kind in kinds)
    assert {"slots.llm_N_o.gate.routers.N", "extra.keys.N"} <= kinds


def test_samples_without_an_image_have_no_say_in_the_vision_encoder(tiny, rows):
    texts = [row | {"images": []} for row in rows[:3]]
    state = {"ranks": {"vision_0_o": [1] * 3, "llm_0_o": [1] * 3}, "scale": 2.0}
    model = build(tiny, state | {"tasks": ["a"], "frozen": {}})
    assert activity(model, Dataset.from_list(texts), 2).keys() == {"llm_0_o"}
    both = activity(model, Dataset.from_list(texts + rows[3:5]), 2)
    assert sum(both["llm_0_o"]) == pytest.approx(5)
    assert sum(both["vision_0_o"]) == pytest.approx(2)
