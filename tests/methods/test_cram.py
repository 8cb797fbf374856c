"""CRAM: groups by text, experts by image, rank by what is new, outputs off the older ones' span."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset

from stages.core.backbone.features import image_features
from stages.core.backbone.load import load_backbone
from stages.core.experts.ranks import slot_name
from stages.methods import registry as methods
from stages.methods.layers.adaptive_rank import basis, cut, decompose, directions, outside_part
from stages.methods.layers.grouped_experts import (
    CentroidGate,
    TaskTexts,
    build,
    join,
    seen_in,
)
from stages.methods.layers.halves import image_halves, text_halves
from tests.helpers import battery

FIRST, SECOND = battery.TASKS[:2]
LIMITS = {"keep": 0.08, "novel": 0.99, "least": 2, "most": 4}


@pytest.fixture(scope="module")
def stream(tiny_folder, tmp_path_factory):
    """Both jobs of the tiny stream, in one group whatever their texts."""
    out = tmp_path_factory.mktemp("cram")
    data, settings = battery.write_data(out), battery.config({"cram": {"groups": 1}})
    return {t: battery.train("cram", t, tiny_folder, data, out, settings) for t in (FIRST, SECOND)}


def notes(trained):
    return json.loads((trained.folder / "mixture.json").read_text())


def tensors(trained):
    return {key.split(":")[1]: value for key, value in trained.weights().items()}


def fresh(backbone, groups, rank=3):
    """A mixture with one expert per entry of ``groups``, all values random."""
    ranks = {slot_name(slot): [rank] * len(groups) for slot in backbone.slots}
    model = build(
        backbone,
        {
            "tasks": [str(i) for i in range(len(groups))],
            "groups": groups,
            "ranks": ranks,
            "scale": 2.0,
            "sigma": 2.0,
            "image_norm": 10.0,
        },
    )
    torch.manual_seed(7)
    for module in (model.slots, model.extra):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    model.model.eval()
    return model


# --- groups ---


@pytest.mark.parametrize(
    ("scores", "most", "want"),
    [
        ([], 10, None),  # the first task
        ([0.81], 10, 0),  # one group, near enough
        ([0.8], 10, None),
        ([0.5], 1, 0),  # no further group allowed
        ([0.3, 0.45, 0.2], 10, 1),  # leads by 0.15, however far away
        ([0.95, 0.9], 10, None),  # near to both: neither
        ([0.9, 0.95], 2, 1),  # but for the cap
    ],
)
def test_join_rule(scores, most, want):
    assert join(scores, alone=0.8, margin=0.1, most=most) == want


def test_a_prototype_is_the_mean_of_its_tasks():
    texts = TaskTexts(4, width=2)
    for vector, value in zip(texts.vectors, ([1, 0], [0, 1], [0, 3], [9, 9]), strict=True):
        vector.copy_(torch.tensor(value))
    got = texts.scores(torch.tensor([[1.0, 0.0]]), [0, 1, 0])  # the fourth has no group yet
    want = 1 / np.sqrt(1 + 3**2)  # group 0: mean (0.5, 1.5)
    np.testing.assert_allclose(got, [[want, 0.0]], atol=1e-6)


# --- rank ---


def orthonormal(rows, columns, seed):
    return torch.linalg.qr(torch.randn(rows, columns, generator=seeded(seed)))[0]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_svd_from_factors():
    """2 B A has the singular values and vectors it was made of."""
    u, v, sigma = orthonormal(9, 3, 0), orthonormal(7, 3, 1), torch.tensor([2.0, 0.5, 0.1])
    b, a = u * sigma / 2, v.T
    got_u, got, got_vh = decompose(b, a, 2.0)
    torch.testing.assert_close(got[:3], sigma)
    torch.testing.assert_close((got_u * got) @ got_vh, 2 * b @ a, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("known", "limits", "want"),
    [
        ([], {}, [0, 1, 2]),  # above 0.08
        ([1], {}, [0, 2]),  # the group has the second direction
        ([0, 1, 2], {}, [0, 1]),  # nothing new: refilled with the largest
        ([0, 1, 2], {"least": 4}, [0, 1, 2, 3]),
        ([0], {"least": 3}, [0, 1, 2]),
        ([], {"most": 2}, [0, 1]),
        ([], {"keep": 0.02, "most": 9}, [0, 1, 2, 3]),
    ],
)
def test_which_directions(known, limits, want):
    """Singular values 1, 0.5, 0.2, 0.05, 0.01 on the axes of a five-dimensional input."""
    sigma = torch.tensor([1.0, 0.5, 0.2, 0.05, 0.01])
    axes = torch.eye(5)
    rows = 3 * axes[known]  # rows of A need not have length 1
    assert directions(sigma, axes, basis(rows.T), **(LIMITS | limits)) == want


def test_a_direction_partly_known():
    """Outside part sqrt(1 - 0.1^2) = 0.995 > 0.99 > sqrt(1 - 0.2^2) = 0.980."""
    sigma, axes = torch.tensor([1.0, 0.5]), torch.eye(3)[:2]
    for lean, want in ((0.1, [0, 1]), (0.2, [1])):
        row = torch.tensor([[lean, 0.0, np.sqrt(1 - lean**2)]], dtype=torch.float32)
        got = directions(sigma, axes, basis(row.T), **(LIMITS | {"least": 0}))
        assert got == want


def test_the_released_code_cuts_before_it_asks_what_is_new():
    """Of the two largest directions one is known; the paper's rule goes on to the third."""
    sigma, axes = torch.tensor([1.0, 0.5, 0.2]), torch.eye(5)[:3]
    limits = LIMITS | {"least": 0, "most": 2}
    known = basis(axes[:1].T)
    assert directions(sigma, axes, known, **limits) == [1, 2]
    assert directions(sigma, axes, known, **limits, source="code") == [1]


def test_an_expert_reads_only_what_older_ones_do_not():
    """V minus its part along a known row, at length 1; a row inside stays."""
    known = basis(torch.tensor([[1.0], [0.0], [0.0]]))
    rows = torch.tensor([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]])
    want = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(outside_part(rows, known), want)


def test_the_cut_expert_is_the_buffer_on_its_best_directions(tiny):
    """Of q, k, v as one matrix; the scale goes in once, the factors are balanced."""
    model = fresh(tiny, [0, 0])
    slot = model.slots["llm_0_qkv"]
    q, k, v = slot.linears.values()
    assert q.a is k.a is v.a
    u, right = orthonormal(64, 3, 0), orthonormal(32, 3, 1)
    sigma = torch.tensor([1.5, 0.4, 0.02])
    q.a[-1].data = right.T
    stacked_b = (u * sigma / 2).split([32, 16, 16])
    for linear, part in zip((q, k, v), stacked_b, strict=True):
        linear.b[-1].data = part.clone()
    rank = cut(slot, [], 2.0, keep=0.08, novel=0.99, least=1, most=10)
    assert rank == 2
    got = 2 * torch.cat([linear.b[-1] @ linear.a[-1] for linear in (q, k, v)])
    want = (u[:, :2] * sigma[:2]) @ right[:, :2].T
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    torch.testing.assert_close(q.a[-1] @ q.a[-1].T, torch.diag(sigma[:2]), atol=1e-5, rtol=0)
    assert q.a is k.a is v.a
    # the group's other expert has the first direction already
    q.a[0].data = right.T[:1].repeat(3, 1)
    q.a[-1].data, q.b[-1].data = right.T, stacked_b[0]
    k.b[-1].data, v.b[-1].data = stacked_b[1:]
    assert cut(slot, [0], 2.0, keep=0.08, novel=0.99, least=1, most=10) == 1
    inner = q.a[-1] / q.a[-1].norm()
    torch.testing.assert_close(inner.abs(), right.T[1:2].abs(), atol=1e-5, rtol=0)


# --- routing ---


def test_weights_by_centroids_of_the_own_group():
    """numpy: softmax(-|q - c|^2 / 8) over experts 0 and 2, or over expert 1 alone."""
    gate = CentroidGate(2, experts=3, sigma=2.0)
    centroids = np.array([[1.0, 0.0], [0.0, 0.0], [-1.0, 2.0]])
    for parameter, value in zip(gate.centroids, centroids, strict=True):
        parameter.data = torch.tensor(value, dtype=torch.float32)
    images = np.array([[1.0, 1.0], [0.0, 3.0], [5.0, 5.0]])
    members = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 0]])
    gate.now = type("Now", (), {})()
    gate.now.given = torch.tensor(np.concatenate([members, images], 1), dtype=torch.float32)
    powers = np.exp(-((images[:, None] - centroids) ** 2).sum(-1) / 8) * members
    want = powers / powers.sum(1, keepdims=True)
    assert abs(want[0, 0] - want[1, 0]) > 0.1
    np.testing.assert_allclose(gate.shares().detach(), want, rtol=1e-5)


def test_what_is_seen_of_a_sample_is_its_feature(tiny):
    """The image half as extract_features has it, at length 10; the text half from the
    instruction's tokens alone, one sample at a time and without padding."""
    model = fresh(tiny, [0, 1])
    rows = battery.rows_of(FIRST)[:3] + battery.rows_of(SECOND)[:2]
    rows[1] |= {"images": [], "width": None, "height": None}
    batch = battery.batch_of(tiny, rows)
    images, texts = image_halves(model, batch, 10.0), text_halves(model, batch)
    image_token = tiny.model.config.image_token_id
    for i, row in enumerate(rows):
        ids = tiny.prompter.generation_example(row)["input_ids"]
        ids = torch.tensor([[token for token in ids if token != image_token]])
        with torch.no_grad(), model.plain() as plain:
            states = plain.model.language_model(input_ids=ids).last_hidden_state[0]
            pooled = states.amax(0).numpy()
            want = (pooled - pooled.mean()) / np.sqrt(pooled.var() + 1e-5)
            np.testing.assert_allclose(texts[i], want, atol=1e-4)
            if row["images"]:
                tile = tiny.prompter.images.normalised(tiny.prompter.thumbnail(row))
                feature = image_features(tiny, tile)[0]
                want = 10 * feature / feature.norm()
                torch.testing.assert_close(images[i], want, atol=1e-4, rtol=1e-4)
            else:
                assert images[i].abs().max() == 0


def test_each_sample_has_its_own_group_and_weights(tiny):
    """Alone or in a batch; the prototypes are two of the samples' own texts."""
    model = fresh(tiny, [0, 1, 1])
    rows = battery.rows_of(FIRST)[:2] + battery.rows_of(SECOND)[:2]
    batch = battery.batch_of(tiny, rows)
    texts = text_halves(model, batch)
    for vector, source in zip(model.extra.vectors, (0, 2, 2), strict=True):
        vector.copy_(texts[source])
    together = seen_in(model, batch)
    cosine = torch.nn.functional.cosine_similarity(texts[:, None], texts[[0, 2]], dim=-1)
    for i, row in enumerate(rows):
        members = [1, 0, 0] if cosine[i, 0] > cosine[i, 1] else [0, 1, 1]
        assert together[i, :3].tolist() == members
        alone = seen_in(model, battery.batch_of(tiny, [row]))
        torch.testing.assert_close(alone[0], together[i], atol=1e-4, rtol=1e-4)
    assert together[0, :3].tolist() != together[2, :3].tolist()
    model.now.given = together
    shares = model.slots["llm_0_o"].gate.shares()
    assert shares[2, 0] == 0
    assert not torch.allclose(shares[2], shares[3], atol=1e-3)
    assert seen_in(model, batch, group=1)[:, :3].tolist() == [[0, 1, 1]] * 4


# --- training ---


def test_warm_up_then_main_training(stream):
    """The buffer alone; then the cut expert, and its centroid once it has a rival."""
    for number, task in enumerate((FIRST, SECOND)):
        warm, main = stream[task].phases
        assert warm.batches == 2  # 5 % of six steps: one, of two batches
        kinds = {(key.split(".")[2].rstrip("s"), key.split(".")[-2]) for key in warm.trainable}
        assert {kind for _, kind in kinds} == {"a", "b"}
        assert {key.rsplit(".", 1)[1] for key in warm.trainable} == {str(number)}
        gates = {key for key in main.trainable if ".gate." in key}
        assert main.trainable - gates == warm.trainable
        names = [slot_name(slot) for slot in stream[task].backbone.slots]
        rivals = {f"slots.{name}.gate.centroids.1" for name in names}
        assert gates == (rivals if number else set())
        assert notes(stream[task])["groups"] == [0] * (number + 1)
        for ranks in notes(stream[task])["ranks"].values():
            assert len(ranks) == number + 1
            assert all(4 <= rank <= 10 for rank in ranks)
    before, after = tensors(stream[FIRST]), tensors(stream[SECOND])
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_first_centroid_is_the_mean_image_of_the_warm_up(stream):
    """Without a rival it does not move. One step of four rows, chosen by the seed."""
    backbone = load_backbone(stream[FIRST].backbone.path, battery.SETTINGS)
    rows = stream[FIRST].method.warmup_rows(10, replace(battery.job_of(backbone, FIRST), seed=3))
    assert len(rows) == 4
    seen = []
    for i in rows:
        tile = backbone.prompter.thumbnail(battery.rows_of(FIRST)[i])
        tile = backbone.prompter.images.normalised(tile)
        feature = image_features(backbone, tile)[0].detach()
        seen.append(10 * feature / feature.norm())
    got = tensors(stream[FIRST])["slots.vision_1_qkv.gate.centroids.0"]
    torch.testing.assert_close(got, torch.stack(seen).mean(0), atol=1e-4, rtol=1e-4)


def test_tasks_far_apart_found_two_groups(tiny_folder, tmp_path):
    settings = battery.config({"cram": {"join_alone": 1.1}}, epochs=1)
    data = battery.write_data(tmp_path)
    for task in (FIRST, SECOND):
        job = battery.train("cram", task, tiny_folder, data, tmp_path, settings)
    assert notes(job)["groups"] == [0, 1]
    assert not any(".gate." in key for key in job.phases[1].trainable)


@pytest.fixture
def objective(stream, tiny_folder):
    """The loss of the second job's main training before its first step; lambda = 5."""
    method = methods.load("cram")
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    settings = battery.config({"cram": {"groups": 1, "overlap": 5.0}})
    job = battery.job_of(backbone, SECOND, settings)
    model = method.prepare(backbone, job, {FIRST: stream[FIRST].folder})
    caught = []

    def run(learner, loss, rows, **changes):
        caught.append(loss)
        for name, parameter in learner.trainable().items():
            if len(caught) == 1 and ".b." in name:  # a warm-up that has learnt
                torch.manual_seed(len(name))
                torch.nn.init.normal_(parameter, std=0.2)
        return []

    method.fit(model, job, Dataset.from_list(battery.rows_of(SECOND)), run)
    model.describe = None
    return model, caught[1]


def test_the_penalty_by_hand(objective):
    """numpy: gamma |z Q|^2, z = 2 B A x of the mean token the slot read of the image, Q the
    older B's left singular vectors, mean over slots and samples."""
    model, loss = objective
    backbone, rows = model.backbone, battery.rows_of(SECOND)[:3]
    rows[1] |= {"images": [], "width": None, "height": None}
    batch = battery.batch_of(backbone, rows)
    model.model.eval()
    for slot in model.slots.values():
        slot.gate.train()
    reads = {}
    for slot in backbone.slots:
        layer, name = backbone.model.get_submodule(slot.linears[0]), slot_name(slot)
        layer.base_layer.register_forward_hook(
            lambda m, args, y, name=name: reads.update({name: args[0].detach()})
        )
    got = loss(batch).item()
    seen = (batch["input_ids"] == backbone.model.config.image_token_id).numpy()
    terms = []
    for name, slot in model.slots.items():
        linears = list(slot.linears.values())
        old, new = (
            np.concatenate([linear.b[e].detach().numpy() for linear in linears]) for e in (0, 1)
        )
        q = np.linalg.svd(old, full_matrices=False)[0]
        gamma = slot.gate.shares()[:, 0].detach().numpy()
        for sample, tile in ((0, 0), (2, 1)):  # the text-only sample has no image to overlap on
            x = reads[name].numpy()
            mean = x[tile].mean(0) if name.startswith("vision") else x[sample][seen[sample]].mean(0)
            z = 2 * new @ (linears[0].a[1].detach().numpy() @ mean)
            terms.append(gamma[sample] * ((z @ q) ** 2).sum())
    want = 5 * np.sum(terms) / (3 * len(model.slots))
    answers = model.answer_loss(batch).item()
    assert want > 0.01 * answers
    assert got == pytest.approx(answers + want, rel=1e-3)


def test_texts_alone_have_no_penalty(objective):
    model, loss = objective
    rows = [row | {"images": [], "width": None} for row in battery.rows_of(SECOND)[:2]]
    batch = battery.batch_of(model.backbone, rows)
    model.model.eval()
    assert loss(batch).item() == pytest.approx(model.answer_loss(batch).item(), rel=1e-5)


def test_only_the_new_expert_and_its_centroid_get_gradients(objective):
    model, loss = objective
    loss(battery.batch_of(model.backbone, battery.rows_of(SECOND)[:2])).backward()
    for name, parameter in model.named_parameters():
        mine = name.startswith("slots.") and name.endswith(".1")
        assert (parameter.grad is not None) == mine, name
