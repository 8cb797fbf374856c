"""What holds for every method with a training job, on a stream of two tiny tasks."""

import re
from unittest import mock

import pytest
import torch

from stages.core.backbone.load import load_backbone
from stages.core.backbone.losses import token_losses
from stages.core.backbone.parts import Parts
from stages.core.base.errors import InputError
from stages.core.base.provenance import file_hash
from stages.core.training import trainer as training
from stages.methods import registry as methods
from stages.predict import predict
from tests.helpers import battery

TRAINED = [name for name in methods.names() if methods.load(name).trained_tasks(battery.TASKS)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return battery.write_data(tmp_path_factory.mktemp("data"))


def train(*what):
    """A job long enough for the answers to become clearly likelier."""
    return battery.train(*what, battery.config(epochs=8))


@pytest.fixture(scope="module", params=TRAINED)
def stream(request, tiny_folder, data, tmp_path_factory):
    return stream_of(request.param, tiny_folder, data, tmp_path_factory.mktemp(request.param))


def stream_of(method, tiny_folder, data, out):
    """The finished jobs of a method by task, and hashes of the states before the last job."""
    jobs, hashes = {}, {}
    for task in methods.load(method).trained_tasks(battery.TASKS):
        hashes = {name: file_hash(done.folder) for name, done in jobs.items()}
        jobs[task] = train(method, task, tiny_folder, data, out)
    return jobs, hashes


@pytest.fixture
def last(stream):
    """The job of the last task."""
    return stream[0]["places"]


@pytest.fixture
def loaded(stream, last, tiny_folder):
    """The method's model for the test, on a fresh backbone, from the saved states."""
    jobs, _ = stream
    names = battery.active_at_the_end(last.method)
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    states = {name: jobs[name].folder for name in names}
    return backbone, methods.load(last.method.name).load(backbone, states), names


def prompt_logits(model, backbone, rows):
    """Logits of the first token of each answer, ``(B, vocabulary)``."""
    batch = backbone.to_device(
        backbone.prompter.collate(
            [backbone.prompter.generation_example(row) for row in rows], side="left"
        )
    )
    batch.pop("sample_id")
    with torch.no_grad():
        return model(**batch).logits[:, -1]


def test_answers_become_likelier(last, loaded, tiny_folder):
    backbone, model, names = loaded
    batch = battery.batch_of(backbone, battery.rows_of("places"))
    untouched = load_backbone(tiny_folder, battery.SETTINGS).model
    with torch.no_grad(), model.using(names) as active:
        after = token_losses(active.eval(), batch)[0].mean()
        before = token_losses(untouched, batch)[0].mean()
    assert after < 0.9 * before  # equal if nothing was learnt or nothing is active
    assert all(loss > 0 for _, loss in last.summary["loss"])


def test_what_learns_moves_and_nothing_else(stream):
    """Of every kind of trainable tensor some moved (a router may leave some experts idle)."""
    for job in stream[0].values():
        for phase in job.phases:
            assert phase.moved <= phase.trainable
            assert kinds(phase.moved) == kinds(phase.trainable)
        assert job.summary["trainable_parameters"] > 0


def kinds(names):
    return {re.sub(r"\d+", "N", name) for name in names}


def test_without_states_the_backbone_is_untouched(last, tiny_folder):
    fresh = load_backbone(tiny_folder, battery.SETTINGS)
    rows = battery.rows_of("places")[:3]
    with last.learner.using([]) as model:
        got = prompt_logits(model.eval(), last.backbone, rows)
    assert torch.equal(got, prompt_logits(fresh.model, fresh, rows))


def test_answers_come_from_the_same_states(stream, last, loaded, tiny_folder):
    """States that are read when they answer give what states read at once give."""
    backbone, model, names = loaded
    other = load_backbone(tiny_folder, battery.SETTINGS)
    states = {name: stream[0][name].folder for name in names}
    answering = methods.load(last.method.name).answering(other, states)
    rows = battery.rows_of("places")[:3]
    for active in ([], names, [], names):
        with model.using(active) as view:
            want = prompt_logits(view.eval(), backbone, rows)
        with answering.using(active) as view:
            assert torch.equal(prompt_logits(view.eval(), other, rows), want)


def test_states_of_earlier_tasks_keep_their_bytes(stream):
    jobs, before = stream
    assert {name: file_hash(jobs[name].folder) for name in before} == before


def test_a_saved_state_gives_the_same_logits(last, loaded):
    backbone, model, names = loaded
    rows = battery.rows_of("things")[:2] + battery.rows_of("places")[:2]
    with model.using(names) as active:
        got = prompt_logits(active.eval(), backbone, rows)
    with last.learner.using(names) as active:
        want = prompt_logits(active.eval(), last.backbone, rows)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    with model.using([]) as plain:
        assert not torch.allclose(got, prompt_logits(plain, backbone, rows), atol=1e-2)


def test_an_answer_does_not_depend_on_its_batch(last, loaded):
    backbone, model, names = loaded
    rows = battery.rows_of("things")[:3] + battery.rows_of("places")[:3]
    with model.using(names) as active:
        together = prompt_logits(active.eval(), backbone, rows)
        alone = torch.cat([prompt_logits(active, backbone, [row]) for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_texts_do_not_depend_on_the_batch_size(stream, last, tiny_folder, tmp_path):
    jobs, _ = stream
    names = battery.active_at_the_end(last.method)
    states = {name: jobs[name].folder for name in names}
    rows = {
        row["sample_id"]: row
        for row in battery.rows_of("things")[:3] + battery.rows_of("places")[:3]
    }
    texts = []
    for size in (1, 4):
        backbone = load_backbone(tiny_folder, battery.SETTINGS)
        sets = {tuple(names): list(rows)}
        answers = predict(
            methods.load(last.method.name),
            backbone,
            rows,
            sets,
            states,
            Parts(tmp_path / "predictions.parquet", {}),
            limits=battery.LIMITS,
            batch_size=size,
        )
        texts.append([answer["text"] for answer in answers])
    assert texts[0] == texts[1]
    assert any(texts[0])


def test_a_killed_job_resumes_to_the_same_state(stream, last, tiny_folder, data, tmp_path):
    """It dies in the last but one batch of its last phase, after a checkpoint."""
    jobs, before = stream
    for name in before:
        (tmp_path / name).symlink_to(jobs[name].folder)
    original, calls = training.ExpertTrainer.compute_loss, []

    def counted(self, *args, **kwargs):
        calls.append(self.state.global_step)
        if len(calls) == dies_at:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    def job():
        return train(last.method.name, "places", tiny_folder, data, tmp_path)

    dies_at = sum(phase.batches for phase in last.phases) - 1
    with mock.patch.object(training.ExpertTrainer, "compute_loss", counted):
        with pytest.raises(KeyboardInterrupt):
            job()
        assert not list((tmp_path / "places").rglob("*.safetensors"))
        calls.clear()
        resumed = job().weights()
    assert 0 < len(calls) < dies_at
    whole = last.weights()
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_as_many_trainable_parameters_as_the_budget(stream):
    """The budget: rank 8 on half of the slots. Whoever cannot keep it says why."""
    for job in stream[0].values():
        full = sum(slot.lora_parameters(8) for slot in job.backbone.slots)
        count = job.summary["trainable_parameters"]
        assert abs(count / (full / 2) - 1) <= 0.05 or job.method.off_budget


@pytest.mark.parametrize("name", methods.names())
def test_options_are_checked(name):
    method = methods.load(name)
    assert method.name == name
    defaults = method.settings({"method_options": {"another": {"x": 1}}})
    assert defaults == {key: rule["default"] for key, rule in method.options.items()}
    assert method.settings({"method_options": {name: defaults}}) == defaults
    with pytest.raises(InputError, match=rf"method_options\.{name}: unknown option 'lambada'"):
        method.settings({"method_options": {name: {"lambada": 1}}})
    for key in method.options:
        with pytest.raises(InputError, match=rf"method_options\.{name}\.{key}: "):
            method.settings({"method_options": {name: {key: {"no": "option is a mapping"}}}})
