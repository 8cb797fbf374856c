"""Training reads its rows where they lie on disk."""

from datasets.table import MemoryMappedTable

from stages.core.base import artifacts
from stages.core.training.examples import examples
from stages.methods.base import Method
from tests.stages.test_train_expert import TASK, run


def test_rows_and_their_tokens_are_memory_mapped(tiny_folder, rows, tmp_path, monkeypatch):
    """Neither images nor token ids are held in memory: both are files, opened row by row."""
    path, seen = tmp_path / "train.parquet", []
    artifacts.write_table("data", path, rows, task=TASK, provenance={})

    def fit(self, model, job, data, run):
        seen.extend([data, examples(data, model.backbone.prompter)])
        return []

    monkeypatch.setattr(Method, "fit", fit)
    run(tiny_folder, path, tmp_path / "out", method="seq_ft")
    source, encoded = seen
    assert "images" in encoded.column_names  # opened when a batch needs them
    assert len(encoded[0]["input_ids"]) == encoded[0]["length"]
    for data in (source, encoded):
        assert isinstance(data.data, MemoryMappedTable)
        assert all(str(tmp_path) in file["filename"] for file in data.cache_files)
