"""What `format: datasets` may read: nothing outside the data root or the hub repository."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from stages.core.base.errors import InputError
from stages.core.data.manifests import DataRoot, Split
from stages.core.data.readers import formats
from tests.helpers import splits

ROW = {"image": "a.png", "question": "Q?"}
SECRET = {"image": "a.png", "question": "secret"}
REVISION = "0" * 40


@pytest.fixture
def world(tmp_path):
    """A data root with a folder of one Parquet file, and a secret of every kind outside."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder, row in ((root / "things", ROW), (outside, SECRET)):
        folder.mkdir(parents=True)
        Dataset.from_list([row]).to_parquet(folder / "train.parquet")
        (folder / "train.jsonl").write_text(json.dumps(row) + "\n")
    (root / "things" / "train.jsonl").unlink()
    Dataset.from_list([SECRET]).save_to_disk(outside / "saved")
    return SimpleNamespace(root=root, things=root / "things", outside=outside)


def split(path: Path | None, root: Path, linked=(), **options) -> Split:
    place = DataRoot(root, linked)
    return splits.split(path, "datasets", images=root, root=place, **options)


def questions(source: Split) -> list[str]:
    return [row["question"] for _, row in formats.rows(source)]


def refused(source: Split, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        questions(source)
    assert "secret" not in str(caught.value)


def card(folder: Path, data_files: object, name: str = "README.md", **more) -> None:
    text = json.dumps({"configs": [{"config_name": "default", "data_files": data_files, **more}]})
    (folder / name).write_text(f"---\n{text}\n---\nA card.\n" if name == "README.md" else text)


# --- cards --------------------------------------------------------------------------------------


def test_a_card_that_names_files_of_its_folder_is_followed(world):
    (world.things / "data").mkdir()
    (world.things / "train.parquet").rename(world.things / "data" / "part-0.parquet")
    card(world.things, [{"split": "train", "path": "data/part-*.parquet"}])
    assert questions(split(world.things, world.root)) == ["Q?"]


@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
@pytest.mark.parametrize(
    "pattern",
    [
        "../../outside/train.parquet",
        "data/../../../outside/*",
        "{outside}/train.parquet",
        "file://{outside}/train.parquet",
        "~/train.parquet",
        "https://localhost:9/train.parquet",
        "zip://*.parquet::../../outside/x.zip",
        "train.parquet::{outside}/train.parquet",
        "hf://datasets/someone/things/train.parquet",
    ],
)
def test_patterns_of_a_card_that_climb_out(world, name, pattern):
    pattern = pattern.format(outside=world.outside)
    for data_files in (
        pattern,
        ["train.parquet", pattern],
        [{"split": "train", "path": "train.parquet"}, {"split": "test", "path": [pattern]}],
    ):
        card(world.things, data_files, name)
        refused(split(world.things, world.root), "without '..' and URLs")


def test_a_folder_of_a_card_that_climbs_out(world):
    card(world.things, None, data_dir="../../outside")
    refused(split(world.things, world.root), "without '..' and URLs")


@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml", "dataset_infos.json"])
def test_a_card_that_is_a_link_out(world, name):
    (world.outside / "card").write_text("---\nconfigs: secret\n---\n")
    (world.things / name).symlink_to(world.outside / "card")
    refused(split(world.things, world.root), "not below the data root")


def test_the_root_itself_may_be_the_folder(world, monkeypatch):
    assert questions(split(world.things, world.things)) == ["Q?"]
    monkeypatch.chdir(world.things)
    assert questions(split(Path(), Path())) == ["Q?"]


# --- links --------------------------------------------------------------------------------------


def test_a_linked_file_inside_a_folder(world):
    (world.things / "train-2.parquet").symlink_to(world.outside / "train.parquet")
    refused(split(world.things, world.root), "not below the data root")


def test_a_linked_folder_inside_a_folder_needs_leave(world):
    (world.things / "more").symlink_to(world.outside)
    card(world.things, "more/train.parquet")
    refused(split(world.things, world.root), "not below the data root")
    assert questions(split(world.things, world.root, linked=("../outside",))) == ["secret"]


def test_a_folder_that_is_a_link_itself(world):
    (world.root / "link").symlink_to(world.outside)
    refused(split(world.root / "link", world.root), "not below the data root")


# --- saved data sets ----------------------------------------------------------------------------


@pytest.fixture
def saved(world):
    folder = world.root / "saved"
    DatasetDict(train=Dataset.from_list([ROW])).save_to_disk(folder)
    return folder


def change(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    "file", ["../../../outside/saved/data-00000-of-00001.arrow", "{outside}/saved/x.arrow"]
)
def test_a_saved_state_that_names_files_elsewhere(world, saved, file):
    files = [{"filename": file.format(outside=world.outside)}]
    change(saved / "train" / "state.json", _data_files=files)
    refused(split(saved, world.root), "not below the data root")


def test_a_saved_file_that_is_a_link_out_also_behind_a_pattern(world, saved):
    file = saved / "train" / "data-00000-of-00001.arrow"
    file.unlink()
    file.symlink_to(world.outside / "saved" / file.name)
    refused(split(saved, world.root), "not below the data root")
    change(saved / "train" / "state.json", _data_files=[{"filename": "*.arrow"}])
    refused(split(saved, world.root), r"state\.json: _data_files: .*\*\.arrow not found")


def test_a_saved_split_that_is_a_path(world, saved):
    name = "../../outside/saved"
    change(saved / "dataset_dict.json", splits=[name])
    refused(split(saved, world.root, selected=name), "not below the data root")


@pytest.mark.parametrize("state", ["[]", "{}", '{"_data_files": [3]}', "{", "[" * 10**5])
def test_a_damaged_state_names_its_file(world, saved, state):
    (saved / "train" / "state.json").write_text(state)
    refused(split(saved, world.root), r"state\.json")


def test_a_saved_format_does_not_change_what_is_read(world, saved):
    """Columns that another program left out of its own view are still there."""
    change(saved / "train" / "state.json", _format_type="numpy", _format_columns=["image"])
    assert questions(split(saved, world.root)) == ["Q?"]


# --- what opens further files by itself ----------------------------------------------------------


def test_a_loading_script_is_not_run(world):
    (world.things / "things.py").write_text("raise SystemExit('it ran')\n")
    refused(split(world.things, world.root), "scripts are no longer supported")


def test_kinds_of_files_that_could_open_others(world):
    shutil.rmtree(world.things)
    world.things.mkdir()
    (world.things / "train.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    refused(split(world.things, world.root), "unknown kind of data files 'hdf5'")


def test_metadata_of_an_image_folder_that_names_files_elsewhere(world):
    shutil.rmtree(world.things)
    world.things.mkdir()
    (world.things / "a.png").write_bytes(b"")
    (world.things / "metadata.jsonl").write_text('{"file_name": "../../outside/x.png"}\n')
    refused(split(world.things, world.root), "file_name")


def test_listed_images_stay_closed(world):
    """A row may name any path or address; only the check of images decides about opening it."""
    image = datasets.Image()
    features = datasets.Features({"images": datasets.List(image), "question": image})
    named = [{"bytes": None, "path": p} for p in ("/nowhere/x.png", "http://localhost:9/x.png")]
    table = pa.Table.from_pylist([{"images": named, "question": named[0]}], features.arrow_schema)
    pq.write_table(table, world.things / "train.parquet")
    ((_, row),) = formats.rows(split(world.things / "train.parquet", world.root))
    assert row["images"] == named
    assert row["question"] == named[0]


def test_a_file_whose_name_is_a_chain_of_file_systems(world):
    folder = world.root / f"train.jsonl::{world.outside}"
    folder.mkdir(parents=True)
    (folder / "train.parquet").write_bytes(b"")
    refused(split(folder / "train.parquet", world.root), "not below the data root")


def test_a_file_whose_name_is_a_pattern_is_that_file(world):
    for name in ("train-[12].parquet", "train-1.parquet"):
        row = ROW | {"question": name}
        Dataset.from_list([row]).to_parquet(world.things / name)
    found = questions(split(world.things / "train-[12].parquet", world.root))
    assert found == ["train-[12].parquet"]


def test_a_folder_called_like_a_reader_is_read_as_a_folder(world, monkeypatch):
    world.things.rename(world.root / "json")
    monkeypatch.chdir(world.root)
    assert questions(split(Path("json"), Path())) == ["Q?"]


# --- the hub -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["things", "someone/things", "json", "parquet", "imagefolder"])
def test_a_hub_name_is_never_a_local_folder(world, monkeypatch, name):
    (world.root / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(world.outside / "train.parquet", world.root / name)
    shutil.copy(world.outside / "train.jsonl", world.root)
    monkeypatch.chdir(world.root)
    refused(split(None, world.root, hub={"name": name, "revision": REVISION}), name)


class Builder:
    """What the library gives for a hub data set."""

    def __init__(self, *files: str, revision: str = REVISION) -> None:
        self.hash, self.prepared = revision, False
        self.config = SimpleNamespace(data_files={"train": files} if files else None)

    def download_and_prepare(self) -> None:
        self.prepared = True

    def as_dataset(self, split: str) -> Dataset:
        return Dataset.from_list([ROW | {"question": split}])


@pytest.fixture
def hub(monkeypatch, world):
    def done(builder: Builder, asked: dict | None = None) -> Split:
        def load(path, config, revision):
            if asked is not None:
                asked.update(path=path, config=config, revision=revision)
            return builder

        monkeypatch.setattr(datasets, "load_dataset_builder", load)
        named = {"name": "someone/things", "config": "small", "revision": REVISION}
        return split(None, world.root, hub=named)

    return done


OWN = f"hf://datasets/someone/things@{REVISION}/data/train.parquet"


@pytest.mark.parametrize("files", [(OWN,), ()])
def test_a_hub_data_set_is_read_at_its_revision(hub, files):
    asked = {}
    assert questions(hub(Builder(*files), asked)) == ["train"]
    assert asked == {
        "path": "hf://datasets/someone/things",
        "config": "small",
        "revision": REVISION,
    }


@pytest.mark.parametrize(
    "file",
    [
        "/etc/hostname",
        "https://localhost:9/x.parquet",
        f"hf://datasets/other/things@{REVISION}/x.parquet",
        f"hf://datasets/someone/things@{'1' * 40}/x.parquet",
        f"{OWN}/../../../../other/x.parquet",
        f"zip://x.parquet::{OWN}",
        f"{OWN}::/etc/hostname",
    ],
)
def test_a_hub_card_that_names_files_of_others(hub, file):
    builder = Builder(OWN, file)
    refused(hub(builder), "which is not its own")
    assert not builder.prepared


def test_another_revision_from_the_cache_is_refused(hub):
    refused(hub(Builder(revision="1" * 40)), f"found revision {'1' * 40}, not {REVISION}")
