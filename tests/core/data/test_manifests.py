"""Manifests: keys, paths, checksums."""

import copy
import hashlib

import pytest
import yaml

from stages.core.base.errors import InputError
from stages.core.data.faults import RowError
from stages.core.data.images import probe
from stages.core.data.manifests import DataRoot, load_manifest

MANIFEST = {
    "name": "things",
    "kind": "open_vqa",
    "source": {"name": "Things", "version": "1", "licence": "CC0"},
    "format": "vqa_jsonl",
    "train": {"file": "rows/train.jsonl"},
    "test": {"file": "rows/test.jsonl"},
    "prompt": "{question}\nAnswer.",
    "metric": "accuracy",
    "generation": {"max_new_tokens": 10},
}


@pytest.fixture
def write(tmp_path):
    """Write a manifest, with some (dotted) keys set, beside its two files; gives its path."""
    folder = tmp_path / "task"
    (folder / "rows").mkdir(parents=True)
    for name in ("train", "test"):
        (folder / "rows" / f"{name}.jsonl").write_text(f"{name}\n")

    def done(**changes):
        content = copy.deepcopy(MANIFEST)
        for dotted, value in changes.items():
            *parents, last = dotted.split("__")
            place = content
            for parent in parents:
                place = place[parent]
            place[last] = value
        path = folder / "things.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return done


def message(path, split="train", root=None) -> str:
    with pytest.raises(InputError) as caught:
        load_manifest(path, root).split(split)
    return str(caught.value)


def test_a_sound_manifest(write):
    manifest = load_manifest(write())
    assert manifest.task == {
        "name": "things",
        "kind": "open_vqa",
        "metric": "accuracy",
        "max_new_tokens": 10,
        "min_new_tokens": 1,
    }
    split = manifest.split("test")
    assert split.path.read_text() == "test\n"
    assert list(split.files) == ["rows"]


def test_unknown_keys_are_answered_with_the_near_miss(write):
    assert "promt: unknown key 'promt'. Did you mean 'prompt'?" in message(write(promt="x"))
    assert "train.flie" in message(write(train__flie="x"))
    assert "Did you mean 'file'?" in message(write(train__flie="x"))
    assert "Did you mean 'answers'?" in message(write(fields={"answer": "x"}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "caption"}, "'caption' is not one of"),
        ({"metric": "cider"}, "unknown metric for open_vqa 'cider'"),
        ({"metric": "acuracy"}, "metric: unknown metric for open_vqa 'acuracy'"),
        ({"metric": {"name": "accuracy", "threshold": 0.5}}, "metric.threshold: goes with"),
        ({"metric": {"name": "iou", "threshhold": 0.5}}, "Did you mean 'threshold'?"),
        ({"metric": {"name": "iou", "threshold": 50}}, "metric.threshold: 50"),
        ({"metric": {"name": "iou", "threshold": float("nan")}}, "metric.threshold: nan is no"),
        ({"metric": {"threshold": 0.5}}, "'name' is a required property"),
        ({"metric": 3}, "metric: 3 is not of type"),
        ({"answer": "text"}, "answer: goes with kind 'choice_vqa', and only with it"),
        ({"generation": {}}, "max_new_tokens"),
        ({"generation": {"max_new_tokens": 3, "min_new_tokens": 4}}, "exceeds"),
        ({"name": "other"}, "differs from the file's name"),
        ({"prompt": "{qestion}"}, "Did you mean 'question'?"),
        ({"prompt": "{question.real}"}, "unknown placeholder"),
        ({"prompt": "No question"}, "needs {question}"),
        ({"prompt": "{question"}, "prompt: "),
        ({"prompt": "<image>{question}"}, "leave out '<image>'"),
        ({"prompt": "\ufdd1{question}"}, "leave out '<image>'"),
        ({"root": "elsewhere"}, "is no folder"),
        ({"train": {}}, "exactly one of 'file' and 'hub'"),
        ({"train__hub": {"name": "a/b", "revision": "0" * 40}}, "exactly one of"),
        ({"train": {"hub": {"name": "a/b", "revision": "main"}}}, "'main' does not match"),
        ({"train": {"hub": {"name": "a/b", "revision": "0" * 40}}}, "needs format 'datasets'"),
        *(
            ({"train": {"hub": {"name": name, "revision": "0" * 40}}}, "owner/name (or name)")
            for name in ("/etc", "./a", "../a", "~/a", "a/b/c", "a/../b", "hf://datasets/a", "a::b")
        ),
        ({"train__annotations": "rows/test.jsonl"}, "goes with format 'vizwiz'"),
        ({"train__format": "vizwiz"}, "goes with format 'vizwiz'"),
    ],
)
def test_faults_name_the_key(write, changes, expected):
    path = write(**changes)
    found = message(path)
    assert expected in found
    assert found.startswith(str(path))


def test_a_missing_file_names_key_and_path(write):
    found = message(write(test__file="rows/tset.jsonl"), "test")
    assert "test.file: " in found
    assert "rows/tset.jsonl not found" in found


def test_no_manifest_or_no_yaml(tmp_path):
    assert "not found" in message(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    assert "not valid YAML" in message(tmp_path / "broken.yaml")
    (tmp_path / "empty.yaml").write_text("")
    assert "top level" in message(tmp_path / "empty.yaml")


def test_checksums(write):
    right = hashlib.sha256(b"train\n").hexdigest()
    assert load_manifest(write(train__sha256=right)).split("train").path.is_file()
    found = message(write(train__sha256="0" * 64))
    assert "train.sha256" in found
    assert right in found


@pytest.mark.parametrize("file", ["../outside.jsonl", "rows/../../outside.jsonl", "/etc/hostname"])
def test_a_file_out_of_the_root_is_refused(write, file):
    path = write(train__file=file)
    (path.parents[1] / "outside.jsonl").write_text("x")
    assert "train.file" in message(path)
    assert "leads out of the data root" in message(path)


def test_links_out_of_the_root_need_leave(write):
    path = write(train__file="rows/link/far.jsonl")
    far = path.parents[1] / "far"
    far.mkdir()
    (far / "far.jsonl").write_text("far")
    (path.parent / "rows" / "link").symlink_to(far)
    assert "leads out of the data root" in message(path)
    allowed = write(train__file="rows/link/far.jsonl", linked_roots=["../far"])
    assert load_manifest(allowed).split("train").path.read_text() == "far"


def test_the_root_may_lie_elsewhere(write, tmp_path):
    (tmp_path / "big" / "rows").mkdir(parents=True)
    (tmp_path / "big" / "rows" / "train.jsonl").write_text("big")
    assert load_manifest(write(root="../big")).split("train").path.read_text() == "big"
    given = load_manifest(write(), root=tmp_path / "big")
    assert given.split("train").path.read_text() == "big"


def test_a_folder_whose_name_starts_like_the_root_is_outside(tmp_path):
    for name in ("data", "data_secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_text("x")
    root = DataRoot(tmp_path / "data")
    assert root.place("x.png") == tmp_path / "data" / "x.png"
    assert root.place("../data_secret/x.png") is None
    assert root.place("a\0b") in (None, tmp_path / "data" / "a\0b")


def test_a_linked_file_counts_where_it_really_lies(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.png").write_text("x")
    (tmp_path / "secret.png").write_text("s")
    (tmp_path / "data" / "in.png").symlink_to(tmp_path / "data" / "x.png")
    (tmp_path / "data" / "out.png").symlink_to(tmp_path / "secret.png")
    root = DataRoot(tmp_path / "data")
    assert root.place("in.png") is not None
    assert root.place("out.png") is None


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000])
def test_a_name_that_no_file_can_have_is_a_missing_image(tmp_path, name):
    """As where a row holds an image's own bytes as text, taken for its path."""
    place = DataRoot(tmp_path).place(name)
    assert place is not None
    with pytest.raises(RowError, match="no such file"):
        probe(place)


def test_folders_and_files_taken_for_each_other(write):
    assert "train.file: " in (found := message(write(train__file="rows")))
    assert "is no file" in found
    assert "is no file" in message(write(train__file=""))
    assert "is no folder" in message(write(train__images="rows/train.jsonl"))
    assert load_manifest(write(train__images=".")).split("train").images.is_dir()
    folder = load_manifest(write(train={"file": ".", "format": "datasets"})).split("train")
    assert folder.path.is_dir()
