"""Batch sizes that fit a GPU."""

from __future__ import annotations

import pytest
import torch

from stages.core.backbone.architecture import locate, read_architecture
from stages.core.backbone.batches import Size
from stages.core.base.errors import InputError
from stages.core.costs import fitting, memory
from stages.core.costs.flops import Learning, Sample
from stages.core.costs.memory import Memory
from stages.core.experts.lora import ExpertModel
from stages.core.training.batches import micro_batch_sizes

SETTINGS = {"image_size": None, "max_tiles": 6}


def needs(size, checkpointing):
    """Ten bytes of weights, ten a sample, two with checkpointing."""
    return Memory(10.0, activations=size * (2.0 if checkpointing else 10.0))


@pytest.mark.parametrize(
    ("there", "modes", "size", "checkpointing"),
    [
        (100, (False, True), 7, False),  # 80 of 85 bytes
        (23, (False, True), 4, True),  # 20 do not fit into 19.55, 18 do
        (23, (False,), 1, False),  # nothing fits: the least
        (1000, (True,), 64, True),
    ],
)
def test_the_largest_that_fits_and_checkpointing_only_if_it_must_be(
    there, modes, size, checkpointing
):
    found = fitting.best(needs, range(64, 0, -1), modes, there)
    assert (found.size, found.checkpointing) == (size, checkpointing)


def test_what_is_asked_for_is_taken():
    assert list(fitting.sizes_of(5)) == [5]
    assert list(fitting.sizes_of("auto")) == list(range(64, 0, -1))
    assert [list(fitting.modes_of(mode)) for mode in ("auto", True)] == [[False, True], [True]]


@pytest.mark.parametrize(
    ("batch", "asked", "processes", "sizes"),
    [(80, "auto", 8, [10, 5, 2, 1]), (12, "auto", 1, [12, 6, 4, 3, 2, 1]), (80, 2, 8, [2])],
)
def test_micro_batches_divide_a_processs_share(batch, asked, processes, sizes):
    settings = {"batch_size": batch, "micro_batch_size": asked}
    assert micro_batch_sizes(settings, processes) == sizes


def test_without_a_gpu_auto_is_what_was_the_default():
    cpu = torch.device("cpu")
    assert fitting.room("auto", cpu) is None
    assert fitting.room("40", cpu) is None
    stages = ("profile", "features", "prediction")
    assert [fitting.usual(stage, "auto") for stage in stages] == [8, 16, 16]
    assert fitting.usual("features", 3) == 3


def test_memory_that_is_told_is_taken_and_nonsense_refused():
    assert fitting.room("40", torch.device("cuda")) == 40e9
    with pytest.raises(InputError, match="--gpu-memory 'much': give auto, or gigabytes"):
        fitting.room("much", torch.device("cuda"))


def test_ranks_are_found_in_a_model(tiny):
    model, ranks = ExpertModel(tiny), {("vision", 1, "qkv"): 3, ("llm", 0, "o"): 5}
    model.add("parent", {("llm", 0, "o"): 2}, scale=1.0, dropout=0.0, seed=0)
    model.add("own", ranks, scale=1.0, dropout=0.0, seed=0)
    model.activate(["parent", "own"], training="own")
    found = fitting.learning_of(model.model, tiny.slots)
    assert found.trained == ranks
    assert found.frozen == {("llm", 0, "o"): 2}


def test_every_stage_chooses_on_a_gpu(tiny, rows, capsys):
    """The tiny backbone on a GPU of two megabytes, and of one gigabyte."""
    limits = {"max_new_tokens": 8, "min_new_tokens": 0}
    texts = [[row["turns"][0]["question"]] for row in rows]
    sizes = []
    for there in (2e6, 1e9):
        profile, _ = fitting.profile_batch(tiny, rows, "auto", there)
        seen = fitting.features_batch(tiny, texts, "auto", there)
        told = fitting.prediction_batch(tiny, tiny.model, limits, "auto", there)
        longest = Size(400, 300, 10)
        sizes.append([profile(longest), seen, told(longest)])
    assert all(1 <= small < large == 64 for small, large in zip(*sizes, strict=True))
    assert "samples at a time" in capsys.readouterr().out


def test_short_rows_come_in_larger_batches_that_fit_as_well():
    arch, _ = read_architecture(locate("internvl2-2b"), SETTINGS)
    there, learning = 24e9, Learning()

    def needs(sample, size, _):
        return memory.prediction(arch, sample, learning, size, 100)

    most = fitting._by_size(arch, needs, "auto", there)
    long, short = Size(4000, 7 * 256, 0), Size(1200, 1024, 0)
    assert most(long) < most(short) <= 64
    for size in (long, short):
        sample = Sample(size.image_tokens / 256, size.tokens, 0)
        assert needs(sample, most(size), False).total <= 0.85 * there
        assert most(size) == 64 or needs(sample, most(size) + 1, False).total > 0.85 * there
