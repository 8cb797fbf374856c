"""Jobs that divide a task's batches leave the very file that one job makes."""

import pytest

from stages import predict, predict_backbone
from stages.core.backbone import decoding
from stages.core.backbone.parts import Shard
from stages.core.base import artifacts
from stages.core.base.errors import InputError
from tests.stages import test_unfinished_predictions as unfinished

given = unfinished.given


def shard(stage, given, tiny_folder, out, text, monkeypatch):
    """One of the jobs; returns how many samples it answered."""
    generate, sizes, run = decoding.generate, [], stage.main
    done = out.with_name(f"done-{text.replace('/', '-')}")

    def counted(model, prompter, batch, limits):
        sizes.append(len(batch["sample_id"]))
        return generate(model, prompter, batch, limits)

    def main(line):
        run([*line, "--shard", text, "--done", str(done)])
        out.touch()  # the helper reads it

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "generate", counted)
        patch.setattr(stage, "main", main)
        unfinished.answer(stage, given, tiny_folder, out)
    assert done.read_bytes() == b""
    out.unlink()
    return sum(sizes)


@pytest.mark.parametrize(("stage", "answered"), [(predict_backbone, (4, 3)), (predict, (8, 6))])
def test_two_jobs_and_a_join(given, tiny_folder, tmp_path, monkeypatch, stage, answered):
    """Seven samples in four batches, of each of two experts in ``predict``."""
    whole = unfinished.answer(stage, given, tiny_folder, tmp_path / "whole.parquet")
    out = tmp_path / "joined.parquet"
    counts = [shard(stage, given, tiny_folder, out, f"{n}/2", monkeypatch) for n in (2, 1)]
    assert sorted(counts) == sorted(answered)
    monkeypatch.setattr(decoding, "generate", None)  # the join answers nothing
    unfinished.answer(stage, given, tiny_folder, out)
    assert out.read_bytes() == whole
    assert not (tmp_path / ".joined.parquet.parts").exists()


def test_the_join_answers_what_a_lost_shard_would_have(given, tiny_folder, tmp_path, monkeypatch):
    stage, out = predict_backbone, tmp_path / "joined.parquet"
    whole = unfinished.answer(stage, given, tiny_folder, tmp_path / "whole.parquet")
    assert shard(stage, given, tiny_folder, out, "1/3", monkeypatch) in (3, 4)
    assert unfinished.answer(stage, given, tiny_folder, out) == whole
    assert artifacts.read_table("predictions", out).num_rows == 7


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_other_shards_are_refused(text):
    with pytest.raises(InputError, match=f"--shard '{text}': give number/count, such as 2/4"):
        Shard.of(text)


def test_shards_divide_the_batches():
    batches = list(range(10))
    shares = [batches[Shard.of(f"{n}/3").share] for n in (1, 2, 3)]
    assert shares == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
