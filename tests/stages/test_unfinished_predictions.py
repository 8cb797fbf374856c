"""A prediction that was killed goes on after its parts and makes the very file of an undisturbed
one."""

import json

import pytest
import torch

from stages import predict, predict_backbone
from stages.core.backbone import decoding, load, parts
from stages.core.backbone.load import load_backbone
from stages.core.base import artifacts
from stages.core.base.before import aside, move_aside
from stages.core.experts.lora import ExpertModel
from tests.conftest import make_row
from tests.helpers.gpu_stages import CONFIG, TASK

UNROUTED = {"best_task": None, "ratio": None, "n_under": None}
CONFIG = {key: CONFIG[key] for key in ("backbone", "prediction")}  # batches of two


@pytest.fixture(scope="module")
def given(tiny_folder, tmp_path_factory):
    """Seven rows, answered by the backbone and by each of two experts."""
    folder = tmp_path_factory.mktemp("given")
    rows = [make_row(i, "Why? " * (1 + i % 4), "") for i in range(7)]
    artifacts.write_table("data", folder / "rows.parquet", rows, task=TASK, provenance={})
    routes = [
        {"sample_id": row["sample_id"], "step": step, "experts": experts} | UNROUTED
        for row in rows
        for step, experts in enumerate(([], ["t1"], ["t2"]))
    ]
    artifacts.write_table("routes", folder / "routes.parquet", routes)
    for seed, name in enumerate(("t1", "t2")):
        backbone = load_backbone(tiny_folder, CONFIG["backbone"])
        model = ExpertModel(backbone)
        model.add(name, {slot.key: 4 for slot in backbone.slots}, scale=2.0, dropout=0.0, seed=seed)
        model.activate([name], training=name)
        for parameter in model.trainable().values():
            torch.nn.init.normal_(parameter, std=0.3)
        model.save(name, folder / name)
    return folder


@pytest.fixture
def prompt_parts(monkeypatch):
    """Every batch becomes a part."""
    monkeypatch.setattr(parts, "SECONDS", 0)


def answer(stage, given, tiny_folder, out, **changes):
    """Run a stage on the given files."""
    line = ["--data", str(given / "rows.parquet"), "--backbone", str(tiny_folder)]
    line += ["--config", json.dumps(CONFIG | changes), "--out", str(out)]
    if stage is predict:
        untouched = out.with_name("untouched.parquet")
        if not untouched.exists():
            answer(predict_backbone, given, tiny_folder, untouched)
        line += ["--method", "individual", "--task", "b", "--untouched", str(untouched)]
        line += ["--routes", str(given / "routes.parquet")]
        line += ["--states", str(given / "t1"), str(given / "t2")]
    stage.main(line)
    return out.read_bytes()


def dying(monkeypatch, after):
    """From now on a process dies when it has answered so many batches (None: never); returns
    their sizes."""
    original, batches = decoding.generate, []

    def generate(model, prompter, batch, limits):
        if len(batches) == after:
            raise KeyboardInterrupt
        batches.append(len(batch["sample_id"]))
        return original(model, prompter, batch, limits)

    monkeypatch.setattr(decoding, "generate", generate)
    return batches


@pytest.mark.parametrize(("stage", "batches", "last"), [(predict_backbone, 4, 2), (predict, 8, 6)])
def test_a_killed_prediction_goes_on(
    stage, batches, last, given, tiny_folder, tmp_path, prompt_parts
):
    """``predict`` dies among the second expert's batches, so that it leaves a set unanswered,
    another half done."""
    out = tmp_path / "out.parquet"
    whole = answer(stage, given, tiny_folder, out)
    out.unlink()
    with pytest.MonkeyPatch.context() as patch:
        dying(patch, after=last)
        with pytest.raises(KeyboardInterrupt):
            answer(stage, given, tiny_folder, out)
    assert not out.exists()
    assert len(list((tmp_path / ".out.parquet.parts").iterdir())) == last
    with pytest.MonkeyPatch.context() as patch:
        answered = dying(patch, after=None)
        assert answer(stage, given, tiny_folder, out) == whole
    assert len(answered) == batches - last
    assert not (tmp_path / ".out.parquet.parts").exists()


def test_parts_of_another_run_and_broken_ones_are_deleted(
    given, tiny_folder, tmp_path, prompt_parts, capsys
):
    """Another batch size gives other batches, whose last bits may differ."""
    out = tmp_path / "out.parquet"
    with pytest.MonkeyPatch.context() as patch:
        dying(patch, after=2)
        with pytest.raises(KeyboardInterrupt):
            answer(predict_backbone, given, tiny_folder, out, prediction={"batch_size": 1})
    first, second = sorted((tmp_path / ".out.parquet.parts").iterdir())
    second.write_bytes(second.read_bytes()[:-8])
    with pytest.MonkeyPatch.context() as patch:
        answered = dying(patch, after=None)
        answer(predict_backbone, given, tiny_folder, out)
    assert answered == [2, 2, 2, 1]
    told = capsys.readouterr().out
    assert all(
        f"{file}: made from other inputs, settings or code" in told for file in (first, second)
    )


def test_a_broken_part_of_this_run_is_answered_again(given, tiny_folder, tmp_path, prompt_parts):
    """A machine that went down can leave a file cut off."""
    out = tmp_path / "out.parquet"
    with pytest.MonkeyPatch.context() as patch:
        dying(patch, after=3)
        with pytest.raises(KeyboardInterrupt):
            answer(predict_backbone, given, tiny_folder, out)
    part = sorted((tmp_path / ".out.parquet.parts").iterdir())[1]
    part.write_bytes(part.read_bytes()[:50])
    with pytest.MonkeyPatch.context() as patch:
        answered = dying(patch, after=None)
        answer(predict_backbone, given, tiny_folder, out)
    assert answered == [2, 1]
    texts = {
        row["sample_id"]: row["text"]
        for row in artifacts.read_table("predictions", out).to_pylist()
    }
    assert len(texts) == 7


def test_answers_of_the_last_minute_are_kept_when_a_job_ends_in_an_error(
    given, tiny_folder, tmp_path
):
    out = tmp_path / "out.parquet"
    with pytest.MonkeyPatch.context() as patch:
        dying(patch, after=3)
        with pytest.raises(KeyboardInterrupt):
            answer(predict_backbone, given, tiny_folder, out)
    (part,) = (tmp_path / ".out.parquet.parts").iterdir()
    assert artifacts.read_table("predictions", part).num_rows == 6


def test_parts_are_written_now_and_then(tmp_path, monkeypatch):
    """A part has all that was answered since the one before."""
    from tqdm import tqdm

    clock = [0.0]
    monkeypatch.setattr(parts.time, "monotonic", lambda: clock[0])
    found = parts.Parts(tmp_path / "p.parquet", {})
    keep = found.keeper(["a"], tqdm(disable=True))
    for now in (10, 50, 70, 100, 140):
        clock[0] = now
        keep({f"s{now}": str(now)})
    read = parts.Parts(tmp_path / "p.parquet", {})
    assert read.known(["a"]) == {f"s{now}": str(now) for now in (10, 50, 70, 100, 140)}
    assert [
        artifacts.read_table("predictions", file).num_rows
        for file in sorted((tmp_path / ".p.parquet.parts").iterdir())
    ] == [3, 2]
    assert read.left(["a"], ["s10", "s11"]) == ["s11"]
    assert read.left(["b"], ["s10"]) == ["s10"]


def test_answers_that_would_only_be_given_again_are_taken_back(
    given, tiny_folder, tmp_path, monkeypatch
):
    """Without a backbone; not those to other routes, nor answers that somebody changed."""
    out = tmp_path / "answers.parquet"
    whole = answer(predict, given, tiny_folder, out)
    monkeypatch.setattr(load, "load_backbone", lambda *_: pytest.fail("loaded"))
    move_aside([out], None)
    assert answer(predict, given, tiny_folder, out) == whole
    assert not aside(out).exists()
    table = artifacts.read_table("predictions", out)
    metadata = artifacts.metadata(out)
    fields = {name: metadata[name] for name in ("task", "method", "provenance", "content")}
    rows = [row | {"text": "mine"} for row in table.to_pylist()]
    artifacts.write_table("predictions", out, rows, **fields)
    move_aside([out], None)
    with pytest.raises(pytest.fail.Exception, match="loaded"):
        answer(predict, given, tiny_folder, out)
    aside(out).write_bytes(whole)
    with pytest.raises(pytest.fail.Exception, match="loaded"):
        answer(predict, given, tiny_folder, out, prediction={"batch_size": 3})
