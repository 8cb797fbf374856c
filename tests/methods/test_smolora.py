"""SMoLoRA: the choice of blocks, their fusion, the vector of a request, the budget."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from stages.core.backbone.generic_prompts import PROMPTS
from stages.core.backbone.load import load_backbone
from stages.core.backbone.slots import Slot
from stages.core.experts.gates import Pass
from stages.core.experts.job import Job
from stages.core.experts.mixtures import read_state
from stages.methods import registry as methods
from stages.methods.layers.halves import text_halves
from stages.methods.layers.separable import Fused, Requests, SeparableGate, largest, told
from tests.conftest import make_row
from tests.helpers import battery

FIRST, SECOND = battery.TASKS


def test_a_linear_fuses_both_kinds_per_token():
    """numpy: of four blocks the second and the third; their outputs by softmax of their scores."""
    torch.manual_seed(0)
    linear = Fused((5, 3), [1, 2, 2, 1], 0.0, None, scale=2.0)
    for b in linear.b:
        torch.nn.init.normal_(b)
    x, weights = torch.randn(2, 4, 3), torch.tensor([0.0, 1.0, 1.0, 0.0]).expand(2, 1, 4)
    got = linear(x, weights).detach().numpy()
    a, b = ([m.detach().numpy() for m in part] for part in (linear.a, linear.b))
    c = linear.fusion.detach().numpy()
    for row in range(2):
        for token in range(4):
            u = [b[i] @ a[i] @ x[row, token].numpy() for i in (1, 2)]
            powers = np.exp([2 * c[k] @ u[k] for k in (0, 1)])
            want = (powers[0] * u[0] + powers[1] * u[1]) / powers.sum()
            np.testing.assert_allclose(got[row, token], want, rtol=1e-4, atol=1e-6)


def test_blocks_are_chosen_by_the_prompt_and_kept():
    """Token sums of the prompt point along one axis of each row; the answer's token does not."""
    gate = SeparableGate(width=2, text_width=2, blocks=2).requires_grad_(False)
    gate.seen.data = gate.asked.data = torch.eye(2)
    request, prompt = torch.tensor([[0.0, 1.0], [3.0, 1.0]]), torch.tensor([[1.0, 1, 0], [0, 1, 0]])
    gate.attach("llm", Pass(given=torch.cat([request, prompt], dim=1)))
    x = torch.tensor([[[2.0, 0], [0, 1], [0, 9]], [[9, 0], [0, 1], [9, 0]]])
    want = [[[1.0, 0, 0, 1]], [[0, 1, 1, 0]]]
    assert gate(x).tolist() == want
    gate.now.prompt = False
    assert gate(torch.tensor([[[0.0, 9]], [[9, 0]]])).tolist() == want


def test_a_tile_is_chosen_for_by_its_own_tokens_and_its_samples_request():
    gate = SeparableGate(width=2, text_width=1, blocks=2).requires_grad_(False)
    gate.seen.data, gate.asked.data = torch.eye(2), torch.tensor([[1.0], [-1.0]])
    now = Pass(owner=torch.tensor([1, 0]), given=torch.tensor([[1.0, 1.0], [-1.0, 1.0]]))
    gate.attach("vision", now)
    x = torch.tensor([[[1.0, 0], [0, 3]], [[1, 0], [1, 0]]])
    assert gate(x).tolist() == [[[0.0, 1, 0, 1]], [[1, 0, 1, 0]]]


def test_gates_that_learn_get_the_gradient_of_their_softmax():
    scores = torch.tensor([[0.0, np.log(3.0)]], requires_grad=True)
    chosen = largest(scores)
    np.testing.assert_allclose(chosen.detach(), [[0.0, 1.0]], atol=1e-6)
    chosen[0, 1].backward()  # d p_2 / d s = p_2 (1 - p_2) = 3 / 16 with p = 1/4, 3/4
    np.testing.assert_allclose(scores.grad, [[-3 / 16, 3 / 16]], rtol=1e-5)
    assert largest(scores.detach()).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("gates", ["drawn", "learnt"])
def test_gates_learn_only_if_asked(tiny, rows, gates):
    method = methods.load("smolora")
    settings = battery.config({"smolora": {"gates": gates, "samples": 2}})
    job = battery.job_of(tiny, FIRST, settings)
    model = method.prepare(tiny, job, {})
    torch.manual_seed(1)
    for slot in model.slots.values():
        for linear in slot.linears.values():
            for b in linear.b:
                torch.nn.init.normal_(b, std=0.1)

    def run(learner, loss, given):
        loss(battery.batch_of(tiny, rows[:2])).backward()
        return []

    method.fit(model, job, Dataset.from_list(rows), run)
    for slot in model.slots.values():
        for matrix in (slot.gate.seen, slot.gate.asked):
            assert (matrix.grad is None) if gates == "drawn" else matrix.grad.abs().sum() > 0
        assert all(linear.fusion.grad.abs().sum() > 0 for linear in slot.linears.values())


@pytest.fixture(scope="module")
def states(tiny_folder, tmp_path_factory):
    """Folders of both tasks, whose training does nothing but read a batch."""
    folder, found = tmp_path_factory.mktemp("smolora"), {}
    for task in battery.TASKS:
        method, backbone = methods.load("smolora"), load_backbone(tiny_folder, battery.SETTINGS)
        job = battery.job_of(backbone, task)
        model = method.prepare(backbone, job, dict(found))

        def run(learner, loss, given, model=model, task=task):
            loss(battery.batch_of(model.backbone, battery.rows_of(task)[:2]))
            return []

        method.fit(model, job, Dataset.from_list(battery.rows_of(task)), run)
        method.save(model, job, folder / task)
        found[task] = folder / task
    return found


def halves_of(model, rows):
    return text_halves(model, battery.batch_of(model.backbone, rows))


def test_a_request_is_what_is_not_common_to_all_requests(states, tiny_folder):
    """The mean text half of a task's rows less that of generic requests; gates stay as drawn."""
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    model = methods.load("smolora").build(backbone, read_state(states[SECOND])[0])
    generic = [make_row(i, text, "a") | {"images": []} for i, text in enumerate(PROMPTS)]
    centre = halves_of(model, generic).mean(dim=0)
    first, second = (read_state(states[task])[1] for task in battery.TASKS)
    torch.testing.assert_close(second["extra.centre"], centre, atol=1e-4, rtol=1e-4)
    for number, task in enumerate(battery.TASKS):
        want = halves_of(model, battery.rows_of(task)).mean(dim=0) - centre
        torch.testing.assert_close(second[f"extra.tasks.{number}"], want, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(second[key], value) for key, value in first.items())


def test_at_test_the_nearest_request_is_used():
    requests = Requests(2, 2)
    requests.centre.copy_(torch.tensor([1.0, 1.0]))
    for own, value in zip(requests.tasks, ([5.0, 0.0], [0.0, 1.0]), strict=True):
        own.copy_(torch.tensor(value))
    texts = torch.tensor([[2.0, 1.9], [1.0, 1.1]])  # 1, 0.9 and 0, 0.1 from the centre
    assert requests.nearest(texts).tolist() == [[5.0, 0.0], [0.0, 1.0]]


def test_training_tells_gates_the_prompt_alone(tiny, rows):
    """As many tokens as generation starts from."""
    model = methods.load("smolora").prepare(tiny, battery.job_of(tiny, FIRST), {})
    model.extra.tasks[0].fill_(2.0)
    given = told(model, battery.batch_of(tiny, rows[:3]))
    width = len(model.extra.centre)
    assert (given[:, :width] == 2).all()
    lengths = [len(tiny.prompter.generation_example(row)["input_ids"]) for row in rows[:3]]
    assert given[:, width:].sum(dim=1).tolist() == lengths


def tower(module, blocks, width, outputs):
    """Slots of a tower: q, k, v of the given widths, o square."""
    for block in range(blocks):
        names = [f"{module}.{block}.{leaf}" for leaf in ("q", "k", "v", "o")]
        yield Slot(module, block, "qkv", tuple(names[:3]), tuple((n, width) for n in outputs))
        yield Slot(module, block, "o", (names[3],), ((width, width),))


SLOTS = [*tower("vision", 24, 1024, [1024] * 3), *tower("llm", 24, 2048, [2048, 1024, 1024])]


@pytest.mark.parametrize(
    ("rank", "gates", "blocks", "off"),
    [(8, "drawn", 2, 0.25), (16, "drawn", 3, 0), (32, "drawn", 4, 0), (32, "learnt", 4, 0)],
)
def test_blocks_fusion_and_gates_meet_the_budget(rank, gates, blocks, off):
    """Half of the slots at rank 8, 16 or 32; where two blocks a kind cost more, it is over."""
    settings = battery.config({"smolora": {"gates": gates}})
    settings["expert"]["rank"] = rank
    ranks = methods.load("smolora").block_ranks(Job("a", ["a"], settings, SLOTS, None, None), 2048)
    total = 0
    for slot, own in zip(SLOTS, ranks.values(), strict=True):
        assert len(own) == 2 * blocks and max(own) - min(own) <= 1
        total += sum(sum(own) * (rows + columns) + 2 * rows for rows, columns in slot.shapes)
        total += blocks * (slot.shapes[0][1] + 2048) * (gates == "learnt")
    budget = sum(rank * sum(a + b for a, b in slot.shapes) for slot in SLOTS) / 2
    assert abs(total / budget - 1 - off) < 0.03
