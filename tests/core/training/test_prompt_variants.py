"""Training rows in other words, another draw in every epoch."""

import pytest

from stages.core.base import artifacts
from stages.core.data.markers import PLACE
from stages.core.training import trainer
from stages.core.training.examples import KIND, in_other_words
from tests.stages.test_train_expert import TASK, run

HINT = "Answer the question with a single word or phrase."


@pytest.fixture
def asked(rows):
    """Ten rows with a hint."""
    for row in rows:
        row["turns"][0]["question"] = f"What kind of thing is shown?\n{HINT}"
    return rows


def questions(rows, seed: int, epoch: int) -> list[str]:
    found = [in_other_words(row | {KIND: "open_vqa"}, seed, epoch) for row in rows]
    answers = [[turn["answer"] for turn in row["turns"]] for row in rows]
    assert [[turn["answer"] for turn in row["turns"]] for row in found] == answers
    return [row["turns"][0]["question"] for row in found]


def test_seed_epoch_and_sample_decide(asked):
    plain = asked[0]["turns"][0]["question"]
    first = questions(asked, 0, 0)
    assert questions(asked[:4], 0, 0) == first[:4]
    assert questions(asked, 0, 1) != first != questions(asked, 1, 0)
    assert 0 < first.count(plain) < 10


def test_images_keep_their_places(asked):
    asked[0]["turns"][0]["question"] = text = f"What is in {PLACE}?"
    assert {questions(asked[:1], 0, epoch)[0] for epoch in range(8)} == {text}


def test_training_sees_the_words_of_the_epoch(tiny_folder, asked, tmp_path, monkeypatch):
    path, seen = tmp_path / "train.parquet", {}
    artifacts.write_table("data", path, asked, task=TASK, provenance={})
    original = trainer.ExpertTrainer.compute_loss

    def watched(self, model, inputs, *args, **kwargs):
        epoch = self.state.global_step // 3  # ten rows, four in a step
        for sample, ids in zip(inputs["sample_id"], inputs["input_ids"], strict=True):
            seen[sample, epoch] = ids.tolist()
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(trainer.ExpertTrainer, "compute_loss", watched)
    _, _, backbone = run(tiny_folder, path, tmp_path / "b", prompt_variants=True)
    names = [row["sample_id"] for row in asked]
    assert set(seen) == {(name, epoch) for name in names for epoch in (0, 1)}
    for epoch in (0, 1):
        for row, question in zip(asked, questions(asked, 3, epoch), strict=True):
            said = row | {"turns": [row["turns"][0] | {"question": question}]}
            ids, _ = backbone.prompter.training_ids(said)
            found = seen[row["sample_id"], epoch]
            assert found[: len(ids)] == ids
            assert set(found[len(ids) :]) <= {backbone.prompter.tokenizer.pad_token_id}
