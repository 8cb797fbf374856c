"""Operations and memory: hand-computed, and against torch's own counter on tiny models."""

import pytest

from stages.core.backbone.architecture import Block, Matrix, describe
from stages.core.costs import flops, memory
from stages.core.costs.flops import Learning, Sample
from stages.core.costs.gpus import GPUS
from tests.helpers.tiny_families import write_backbone

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 1}

# Width 4, one key/value head of two query heads of size 2, MLP with a gate, 6 wide.
BLOCK = Block(
    "llm",
    0,
    qkv=(Matrix(4, 4), Matrix(2, 4), Matrix(2, 4)),
    o=Matrix(4, 4),
    mlp=(Matrix(6, 4), Matrix(6, 4), Matrix(4, 6)),
)


# --- by hand ---------------------------------------------------------------------------------


def test_forward_of_a_block():
    # weights 16 + 8 + 8 + 16 + 3 x 24 = 120; 2 x 10 x 120 + 4 x 100 x 4
    assert flops.block_forward(BLOCK, 10, Learning()) == 2400 + 1600
    # a LoRA of rank 3 on q, k, v: 3 x (8 + 6 + 6) = 60 more weights
    expert = Learning(trained={("llm", 0, "qkv"): 3})
    assert flops.block_forward(BLOCK, 10, expert) == 2 * 10 * 180 + 1600


@pytest.mark.parametrize(
    ("learning", "flows", "operations"),
    [
        (Learning(), False, 0),  # nothing learns: nothing to do
        (Learning(), True, 2400 + 3200),  # every input gradient, twice the attention
        # rank 1 on o, input frozen: A's weight 4, B's weight and input 4 + 4, MLP 72
        (Learning(trained={("llm", 0, "o"): 1}), False, 2 * 10 * (4 + 8 + 72)),
        # rank 1 on q, k, v, input frozen: A 12, B 8 + 8, attention, o 16, MLP 72
        (Learning(trained={("llm", 0, "qkv"): 1}), False, 2 * 10 * (12 + 16 + 16 + 72) + 3200),
        # a frozen expert of rank 1 on o: 8 more input gradients
        (Learning(frozen={("llm", 0, "o"): 1}), True, 2400 + 3200 + 2 * 10 * 8),
        # the profile: weight gradients of q, k, v (32) and o (16); o's and MLP's input gradients
        (Learning(dense=True), False, 2 * 10 * (32 + 16 + 16 + 72) + 3200),
    ],
)
def test_backward_of_a_block(learning, flows, operations):
    found, carries = flops.block_backward(BLOCK, 10, learning, flows)
    assert found == operations
    assert carries == (flows or operations > 0)


def test_memory_of_a_position():
    # norms 2 x 4 x 4 bytes; q, k, v, out 4 x 4 and the gated MLP 18, two bytes each
    assert memory.block_activations(BLOCK, Learning(), 2, 0.0) == 32 + 2 * (16 + 18)
    # rank 3 on q, k, v with dropout: three inputs of 4 with masks, 3 x 3 numbers between
    expert = Learning(trained={("llm", 0, "qkv"): 3})
    assert memory.block_activations(BLOCK, expert, 2, 0.1) == 100 + 12 * 3 + 2 * 9


def test_an_h100_takes_a_third_of_an_a100s_time():
    from stages.core.costs.estimate import Machine

    fast, slow = (Machine(name, GPUS[name], 1, 0.5) for name in ("h100", "a100"))
    assert slow.hours(156e12 * 3600) == pytest.approx(1)
    assert slow.hours(1e18) / fast.hours(1e18) == pytest.approx(989.4 / 312)
    assert slow.hours(0, 1.555e12 * 7200) == pytest.approx(2)  # bound by memory traffic


# --- against torch ---------------------------------------------------------------------------


def counted(run):
    """What torch counts while ``run`` runs."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def shape_of(backbone, row):
    """The architecture, and the sample's size as the prompter makes it."""
    from stages.core.backbone.prompts import IGNORE

    family = backbone.prompter.images
    example = backbone.prompter.training_example(row)
    batch = backbone.to_device(backbone.prompter.collate([example]))
    tiles = example["pixel_values"].shape[0]
    predicted = sum(label != IGNORE for label in example["labels"])
    sample = Sample(tiles, len(example["input_ids"]), predicted)
    return describe(backbone.model, family, "tiny"), sample, batch


def ranks_of(arch, *keys):
    return {slot.key: 2 for slot in arch.slots if not keys or slot.key in keys}


@pytest.mark.parametrize("max_tiles", [1, 4])
def test_training_passes_are_what_torch_counts(tiny_folder, rows, max_tiles):
    from stages.core.backbone.load import load_backbone
    from stages.core.experts.lora import ExpertModel

    backbone = load_backbone(tiny_folder, SETTINGS | {"max_tiles": max_tiles})
    arch, sample, batch = shape_of(backbone, rows[2])
    assert (max_tiles == 1) == (sample.tiles == 1)
    model, losses = ExpertModel(backbone), []
    parts = [ranks_of(arch), ranks_of(arch, ("vision", 1, "o"), ("llm", 0, "qkv"))]
    parts.append(ranks_of(arch, ("llm", 1, "o")))
    for number, ranks in enumerate(parts):
        model.add(f"e{number}", ranks, scale=1.0, dropout=0.0, seed=0)
        model.activate([f"e{number}"], training=f"e{number}")
        learning = Learning(trained=ranks)
        forward = counted(lambda: losses.append(model.answer_loss(batch)))
        backward = counted(lambda: losses[-1].backward())
        assert forward == flops.total(flops.forward(arch, sample, learning))
        assert backward == flops.total(flops.backward(arch, sample, learning))


def test_an_expert_beside_a_frozen_one_is_what_torch_counts(tiny, rows):
    from stages.core.experts.lora import ExpertModel

    arch, sample, batch = shape_of(tiny, rows[0])
    model, losses = ExpertModel(tiny), []
    frozen, trained = ranks_of(arch), ranks_of(arch, ("vision", 1, "qkv"), ("llm", 1, "o"))
    for name, ranks in (("parent", frozen), ("own", trained)):
        model.add(name, ranks, scale=1.0, dropout=0.0, seed=0)
    model.activate(["parent", "own"], training="own")
    learning = Learning(trained, frozen)
    forward = counted(lambda: losses.append(model.answer_loss(batch)))
    assert forward == flops.total(flops.forward(arch, sample, learning))
    backward = counted(lambda: losses[0].backward())
    assert backward == flops.total(flops.backward(arch, sample, learning))


def test_the_profile_is_what_torch_counts(tiny, rows):
    from stages.core.dmole.gradients import profile_gradients

    arch, sample, _ = shape_of(tiny, rows[1])
    learning = Learning(dense=True)
    found = counted(
        lambda: profile_gradients(
            tiny, [rows[1]], loss="sample_mean", include_bias=False, batch_size=1
        )
    )
    both = flops.forward(arch, sample, learning), flops.backward(arch, sample, learning)
    assert found == sum(map(flops.total, both))


def test_features_and_generation_are_what_torch_counts(tiny, rows):
    from stages.core.backbone.decoding import generate
    from stages.core.backbone.features import extract_features

    arch, sample, _ = shape_of(tiny, rows[1])
    question = len(tiny.prompter.tokenizer(rows[1]["turns"][0]["question"])["input_ids"])
    found = counted(lambda: extract_features(tiny, [rows[1]], normalize=True, batch_size=1))
    assert found == flops.total(flops.features(arch, 1, question))

    example = tiny.prompter.generation_example(rows[1])
    batch = tiny.to_device(tiny.prompter.collate([example], side="left"))
    limits = {"max_new_tokens": 6, "min_new_tokens": 6}
    prompt, none = len(example["input_ids"]), Learning()
    found = counted(lambda: generate(tiny.model, tiny.prompter, batch, limits))
    ahead = flops.forward(arch, Sample(sample.tiles, prompt, 1), none)
    assert found == flops.total(ahead) + flops.total(flops.decoding(arch, prompt, 6, none))


@pytest.mark.parametrize("family", ["llava", "smolvlm"])
def test_forward_of_other_families_is_what_torch_counts(tmp_path, rows, family):
    from stages.core.backbone.load import load_backbone
    from stages.core.backbone.losses import token_losses

    write_backbone(family, tmp_path / family)
    backbone = load_backbone(tmp_path / family, SETTINGS)
    arch, sample, batch = shape_of(backbone, rows[0])
    if family == "smolvlm":
        sample = Sample(batch["pixel_values"].shape[1], sample.tokens, sample.predicted)
    found = counted(lambda: token_losses(backbone.model, batch))
    assert found == flops.total(flops.forward(arch, sample))


def test_kept_memory_is_what_autograd_keeps(tiny, rows):
    """Distinct tensors that the graph of a padded batch holds, weights apart."""
    import torch

    from stages.core.experts.lora import ExpertModel

    tiny.model.set_attn_implementation("sdpa")
    arch, sample, _ = shape_of(tiny, rows[2])
    examples = [tiny.prompter.training_example(row) for row in (rows[0], rows[2])]
    batch = tiny.to_device(tiny.prompter.collate(examples))
    predicted = int((batch["labels"] >= 0).sum())
    model, ranks = ExpertModel(tiny), ranks_of(arch)
    model.add("e", ranks, scale=1.0, dropout=0.0, seed=0)
    model.activate(["e"], training="e")
    weights = {p.untyped_storage().data_ptr() for p in model.model.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.answer_loss(batch)
    measured = sum(size for size, _ in kept.values())
    measured += 2 * 4 * predicted * arch.head.outputs  # of three such tensors the graph holds one
    mean = Sample(sample.tiles, sample.tokens, predicted / 2)  # both padded to the longer one
    found = 2 * memory.activations(arch, mean, Learning(trained=ranks), element=4)
    assert found == pytest.approx(measured, rel=0.05)


def test_checkpointing_keeps_the_inputs_of_blocks_and_one_block(tiny, rows):
    arch, _, _ = shape_of(tiny, rows[0])
    learning = Learning(trained=ranks_of(arch))
    sample = Sample(0, 10, 0)  # text only: two language blocks of width 32
    plain, saved = (
        memory.activations(arch, sample, learning, checkpointing=checkpointing)
        for checkpointing in (False, True)
    )
    final_norm = 10 * 32 * 4
    assert saved == 2 * (10 * 32 * 2) + (plain - final_norm) / 2 + final_norm
