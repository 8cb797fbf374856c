"""Samples longer than the backbone takes: refused, or cut where the configuration says so."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.backbone.prompts import IGNORE
from stages.core.base.errors import InputError
from stages.tools import check_data
from tests.conftest import make_row

CONTEXT = 1024  # max_position_embeddings of the tiny backbone


def test_the_context_is_the_backbones(tiny):
    assert tiny.prompter.context == CONTEXT


def test_a_training_row_beyond_it_is_refused_by_name(tiny):
    row = make_row(3, "What?", "thing " * 2000)
    with pytest.raises(InputError, match=rf"sample 's3': \d+ tokens .* takes {CONTEXT}"):
        tiny.prompter.training_example(row)


def test_a_declared_length_cuts_the_end(tiny):
    row = make_row(0, "What?", "thing " * 40)
    whole = tiny.prompter.training_example(row)
    tiny.prompter.max_length = len(whole["input_ids"]) - 10
    cut = tiny.prompter.training_example(row)
    assert cut["input_ids"] == whole["input_ids"][:-10]
    assert cut["labels"] == whole["labels"][:-10]


def test_a_length_that_leaves_no_answer_is_refused(tiny):
    row = make_row(0, "What?", "a thing")
    ids, labels = tiny.prompter.conversation(row["turns"], tiny.prompter.tile_counts(row))
    tiny.prompter.max_length = labels.index(next(x for x in labels if x != IGNORE))
    with pytest.raises(InputError, match="'s0': backbone.max_length .* no token of its answer"):
        tiny.prompter.training_example(row)
    tiny.prompter.max_length += 1
    assert len(tiny.prompter.training_example(row)["labels"]) == tiny.prompter.max_length < len(ids)


def test_a_prompt_needs_room_for_its_answer(tiny):
    row = make_row(1, "What?", "")
    room = CONTEXT - len(tiny.prompter.generation_example(row)["input_ids"])
    tiny.prompter.generation_example(row, room)
    with pytest.raises(InputError, match=f"'s1': {CONTEXT + 1} tokens"):
        tiny.prompter.generation_example(row, room + 1)


MANIFEST = """
name: long
kind: open_vqa
source: {name: made here, version: "1", licence: none}
format: parquet
train: {file: rows.parquet}
test: {file: rows.parquet}
fields: {image: null, question: question, answers: answers}
prompt: "{question}"
metric: accuracy
generation: {max_new_tokens: 5}
"""


def test_a_check_counts_rows_beyond_the_context(tiny_folder, tmp_path, capsys):
    rows = {"question": ["Q", "Q"], "answers": [["x"], ["x " * 3000]]}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    (tmp_path / "long.yaml").write_text(MANIFEST)
    with pytest.raises(InputError, match="cannot be used"):
        check_data.main([str(tmp_path / "long.yaml"), "--backbone", str(tiny_folder)])
    shown = capsys.readouterr().out
    assert f"the backbone takes {CONTEXT}" in shown
    assert "train: 1 rows are longer than the backbone's context, such as train/row2" in shown
