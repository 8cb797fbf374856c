"""Predictions: memoised matrix against brute force, batch independence, decoding."""

import itertools

import pytest
import torch

from stages.core.backbone.load import load_backbone
from stages.core.backbone.parts import Parts
from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.experts.lora import ExpertModel
from stages.methods import registry as methods
from stages.predict import distinct_sets, predict, untouched_answers
from stages.predict_backbone import predict_backbone
from tests.conftest import make_row

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 1}
LIMITS = {"max_new_tokens": 8, "min_new_tokens": 0}


@pytest.fixture(scope="module")
def states(tiny_folder, tmp_path_factory):
    """Three experts that change the answers."""
    folder = tmp_path_factory.mktemp("states")
    for seed, name in enumerate(("t1", "t2", "t3")):
        backbone = load_backbone(tiny_folder, SETTINGS)
        model = ExpertModel(backbone)
        slots = [slot.key for slot in backbone.slots][seed::2]
        model.add(name, dict.fromkeys(slots, 4), scale=2.0, dropout=0.0, seed=seed)
        model.activate([name], training=name)
        torch.manual_seed(seed)
        for parameter in model.trainable().values():
            torch.nn.init.normal_(parameter, std=0.3)
        model.save(name, folder / name)
    return {name: folder / name for name in ("t1", "t2", "t3")}


@pytest.fixture
def parts(tmp_path):
    """No answers of an earlier job."""
    return Parts(tmp_path / "predictions.parquet", {})


@pytest.fixture
def test_rows():
    rows = [make_row(i, "Why? " * (1 + i % 4), "") for i in range(7)]
    return {row["sample_id"]: row for row in rows}


def plain_answer(folder, states, names, row):
    """One sample, fresh models, argmax token by token without cache or padding."""
    backbone = load_backbone(folder, SETTINGS)
    model = ExpertModel(backbone)
    for name in names:
        model.load(name, states[name])
    ids = backbone.prompter.prompt(row["turns"], [1])
    image = backbone.prompter.images.normalised(backbone.prompter.pixel_values(row))
    eos = backbone.prompter.tokenizer.eos_token_id
    answer = []
    with model.using(list(names)) as active, torch.no_grad():
        while len(answer) < LIMITS["max_new_tokens"]:
            logits = active(input_ids=torch.tensor([ids + answer]), pixel_values=image).logits
            answer.append(int(logits[0, -1].argmax()))
            if answer[-1] == eos:
                break
    return backbone.prompter.tokenizer.decode(answer, skip_special_tokens=True).strip()


def test_the_memoised_matrix_equals_brute_force(tiny, tiny_folder, states, test_rows, parts):
    """Every cell (sample, step) evaluated on its own gives the text joined from the memo."""
    choices = [[], ["t1"], ["t2", "t1"], ["t3"]]
    routes = [
        {"sample_id": sample, "step": step, "experts": choices[(step * 3 + i) % 4]}
        for i, sample in enumerate(test_rows)
        for step in range(4)
    ]
    sets = distinct_sets(routes)
    answers = predict(
        methods.load("dmole"), tiny, test_rows, sets, states, parts, limits=LIMITS, batch_size=3
    )
    memo = {(a["sample_id"], tuple(a["experts"])): a["text"] for a in answers}
    assert len(answers) == len(memo) == len({(r["sample_id"], tuple(r["experts"])) for r in routes})
    for route in routes:
        want = plain_answer(tiny_folder, states, route["experts"], test_rows[route["sample_id"]])
        assert memo[route["sample_id"], tuple(route["experts"])] == want
    assert len(set(memo.values())) > 10  # the experts do change the answers


def test_an_answer_does_not_depend_on_its_batch(tiny_folder, states, test_rows, parts):
    sets = {("t1",): list(test_rows)}
    results = []
    for size, order in itertools.product((1, 4, 7), (1, -1)):
        backbone = load_backbone(tiny_folder, SETTINGS)
        chosen = {names: ids[::order] for names, ids in sets.items()}
        answers = predict(
            methods.load("dmole"),
            backbone,
            test_rows,
            chosen,
            {"t1": states["t1"]},
            parts,
            limits=LIMITS,
            batch_size=size,
        )
        results.append({a["sample_id"]: a["text"] for a in answers})
    assert all(result == results[0] for result in results)


def test_distinct_sets_keep_order_and_drop_repeats():
    routes = [
        {"sample_id": "a", "experts": []},
        {"sample_id": "a", "experts": ["t1"]},
        {"sample_id": "b", "experts": ["t1"]},
        {"sample_id": "a", "experts": ["t1"]},
    ]
    assert distinct_sets(routes) == {(): ["a"], ("t1",): ["a", "b"]}


def test_minimum_length(tiny, states, test_rows, parts):
    limits = {"max_new_tokens": 6, "min_new_tokens": 6}
    seen = []
    original = tiny.prompter.tokenizer.batch_decode
    tiny.prompter.tokenizer.batch_decode = lambda ids, **kw: seen.append(ids) or original(ids, **kw)
    predict(
        methods.load("zero_shot"),
        tiny,
        test_rows,
        {(): ["s0"]},
        {},
        parts,
        limits=limits,
        batch_size=1,
    )
    assert seen[0].shape[1] == 6
    assert tiny.prompter.tokenizer.eos_token_id not in seen[0]


def test_the_backbones_own_answers(tiny, tiny_folder, states, test_rows, parts):
    rows = list(test_rows.values())
    answers = predict_backbone(tiny, rows, parts, limits=LIMITS, batch_size=3)
    assert [a["sample_id"] for a in answers] == list(test_rows)
    for answer in answers:
        assert answer["experts"] == []
        assert answer["text"] == plain_answer(
            tiny_folder, states, [], test_rows[answer["sample_id"]]
        )


def test_a_sample_without_an_answer_of_the_backbone_is_named(tmp_path):
    file = tmp_path / "untouched.parquet"
    rows = [{"sample_id": name, "experts": [], "text": name.upper()} for name in "ab"]
    artifacts.write_table("predictions", file, rows, task="t", method="zero_shot", provenance={})
    assert [row["text"] for row in untouched_answers(file, ["b", "a"])] == ["B", "A"]
    with pytest.raises(InputError, match=r"untouched\.parquet: no answer to sample 'c'"):
        untouched_answers(file, ["a", "c"])
