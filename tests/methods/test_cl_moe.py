"""CL-MoE: the gate of token and task, which experts a task uses most, momentum between tasks."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from stages.core.backbone.load import load_backbone
from stages.core.experts.gates import Pass
from stages.core.experts.mixtures import read_state
from stages.methods import registry as methods
from stages.methods.layers.halves import image_halves, text_halves
from stages.methods.layers.task_shares import TaskShareGate, blend, count_choices, nearest_task
from tests.helpers import battery

FIRST, SECOND = battery.TASKS
METHOD = methods.load("cl_moe")


def prepared(backbone, task=FIRST, states=None, **options):
    """A model with random matrices, so that routing shows."""
    settings = battery.config({"cl_moe": {"experts": 4, **options}})
    method = methods.load("cl_moe")
    model = method.prepare(backbone, battery.job_of(backbone, task, settings), states or {})
    torch.manual_seed(1)
    for parameter in model.trainable().values():
        torch.nn.init.normal_(parameter, std=0.3)
    return method, model


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("tower", ["llm", "vision"])
def test_weights_are_of_the_token_and_of_its_task(tower):
    """Half softmax(W x), half the shares of the row's task; a learning task has none yet."""
    gate = TaskShareGate(2, 3, tasks=2, local=0.5)
    gate.attach(tower, Pass(owner=torch.tensor([1, 0]), given=torch.tensor([0, 1])))
    gate.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    gate.tasks[0].copy_(torch.tensor([0.75, 0.0, 0.25]))
    x = torch.tensor([[[np.log(2.0), 0.0]], [[0.0, np.log(4.0)]]])  # softmax 2:1:1 and 1:4:1
    own = np.array([[2 / 4, 1 / 4, 1 / 4], [1 / 6, 4 / 6, 1 / 6]])
    row = 0 if tower == "llm" else 1  # of the first task
    want = own.copy()
    want[row] = (own[row] + [0.75, 0.0, 0.25]) / 2
    np.testing.assert_allclose(gate(x)[:, 0].detach(), want, rtol=1e-6)


def test_shares_count_the_two_best_experts_of_every_token(tiny, rows):
    """numpy, from what the gates read: how often among the best two; of the two most frequent."""
    _, model = prepared(tiny)
    seen = {}
    for name, slot in model.slots.items():
        slot.gate.register_forward_hook(
            lambda gate, args, _, name=name: seen.setdefault(name, []).append(
                args[0][gate.now.mask.bool()] if name.startswith("llm") else args[0].flatten(0, 1)
            )
        )
    count_choices(model, Dataset.from_list(rows[:3]), 2, 2)
    for name, slot in model.slots.items():
        x = torch.cat(seen[name]).numpy()
        best = np.argsort(x @ slot.gate.weight.detach().numpy().T, axis=-1)[:, 2:]
        counts = np.bincount(best.ravel(), minlength=4).astype(float)
        counts[np.argsort(counts)[:2]] = 0
        want = counts / counts.sum()
        np.testing.assert_allclose(slot.gate.tasks[-1].numpy(), want, rtol=1e-5)
    assert len({tuple(slot.gate.tasks[-1].tolist()) for slot in model.slots.values()}) > 2


@pytest.mark.parametrize(
    ("source", "used", "kept"),
    [
        ("paper", [[0, 1], [1, 2]], [0.7, 0.7, 0.3, 0.7]),  # 2: the new task's alone
        ("paper", [[2, 3], [0, 1], [1, 2]], [0.7, 0.7, 0.7, 0.7]),
        ("code", [[0, 1], [1, 2]], [0.3, 0.7, 0.7, 0.7]),  # 0: the old task's alone
        ("code", [[2, 3], [0, 1], [1, 2]], [0.3, 0.7, 0.7, 0.7]),
    ],
)
def test_momentum_by_hand(tiny, source, used, kept):
    """Every value is 1 before the task and 0 after it: what is left is the part that stays."""
    _, model = prepared(tiny)
    model.notes["tasks"] = [str(i) for i in range(len(used))]
    before = {f"slots.{k}": torch.ones_like(p) for k, p in model.slots.named_parameters()}
    for slot in model.slots.values():
        slot.gate.tasks = torch.nn.ParameterList(
            torch.nn.Parameter(torch.zeros(4).index_fill(0, torch.tensor(own), 0.5)) for own in used
        )
        for linear in slot.linears.values():
            for matrix in [*linear.a, *linear.b]:
                torch.nn.init.zeros_(matrix)
    gates = {k: slot.gate.weight.clone() for k, slot in model.slots.items()}
    blend(model, before, 0.7, source)
    for name, slot in model.slots.items():
        for linear in slot.linears.values():
            for matrices in (linear.a, linear.b):
                for matrix, want in zip(matrices, kept, strict=True):
                    torch.testing.assert_close(matrix.data, torch.full_like(matrix, want))
        assert torch.equal(slot.gate.weight, gates[name])


@pytest.fixture(scope="module")
def states(tiny_folder, tmp_path_factory):
    """Folders of both tasks; instead of training, all that learns is set to 1 and then to 2."""
    folder, found = tmp_path_factory.mktemp("cl_moe"), {}
    for number, task in enumerate(battery.TASKS, start=1):
        backbone = load_backbone(tiny_folder, battery.SETTINGS)
        earlier = {name: found[name] for name in found}
        method, model = prepared(backbone, task, earlier, top_experts=4)
        rows = battery.rows_of(task)

        def run(learner, loss, given, number=number, model=model, rows=rows, **changes):
            loss(battery.batch_of(model.backbone, rows[:2]))
            assert model.now.given.tolist() == [number - 1] * 2
            for parameter in model.trainable().values():
                parameter.data.fill_(float(number))
            return []

        job = battery.job_of(backbone, task, battery.config({"cl_moe": {"top_experts": 4}}))
        method.fit(model, job, Dataset.from_list(rows), run)
        method.save(model, job, folder / task)
        found[task] = folder / task
    return found


def test_only_later_tasks_are_blended(states):
    """All experts are shared, so 0.7 of 1 stay and 0.3 of 2 come; gates are the new task's."""
    for task, expert, gate in ((FIRST, 1.0, 1.0), (SECOND, 1.3, 2.0)):
        notes, tensors = read_state(states[task])
        assert notes["tasks"] == battery.TASKS[: battery.TASKS.index(task) + 1]
        for key, tensor in tensors.items():
            if ".linears." in key:
                torch.testing.assert_close(tensor, torch.full_like(tensor, expert))
            if key.endswith("gate.weight"):
                assert (tensor == gate).all()


def test_a_prompt_is_of_the_task_with_the_nearest_anchors(states, tiny_folder):
    """numpy: cosines of image and text halves to each task's means, added."""
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    model = methods.load("cl_moe").build(backbone, read_state(states[SECOND])[0])
    model.restore(read_state(states[SECOND])[1], states[SECOND])
    halves = {}
    for task in battery.TASKS:
        batch = battery.batch_of(backbone, battery.rows_of(task))
        halves[task] = image_halves(model, batch, 1.0).numpy(), text_halves(model, batch).numpy()

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    for task in battery.TASKS:
        batch = battery.batch_of(backbone, battery.rows_of(task))
        batch.pop("labels")
        scores = [
            [
                sum(cosine(halves[task][m][i], halves[t][m].mean(axis=0)) for m in (0, 1))
                for t in battery.TASKS
            ]
            for i in range(len(batch["input_ids"]))
        ]
        assert nearest_task(model, batch).tolist() == np.argmax(scores, axis=1).tolist()
