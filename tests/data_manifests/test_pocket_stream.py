"""The shipped pocket stream: schema, counts, splits, boxes, options, checksums, licences."""

import hashlib
import io
import math
import re
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import jsonschema
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from stages.pocket.build.manifests import write_manifests
from stages.pocket.build.related import write_related

ROOT = Path(__file__).parents[2]
POCKET = ROOT / "data_manifests" / "pocket"
CHOICES = {"emoji_choice": 4, "flags_choice": 4, "glosses_choice": 3}
RELATED = {"clipart_page": "clipart_kind", "numbers_page": "numbers_ocr"}  # same pictures
OPEN = ("signs_ocr", "charts_vqa", "clipart_kind", "numbers_ocr", *RELATED)
TASKS = ("stamps_caption", "maps_ground", *OPEN, *CHOICES)
COLUMNS = {
    "id": "string",
    "split": "string",
    "image": "struct<bytes: binary, path: string>",
    "question": "string",
    "answers": "list<element: string>",
    "choices": "list<element: string>",
    "answer_index": "int32",
    "knowledge": "string",
    "box": "list<element: double>",
    "width": "int32",
    "height": "int32",
    "objects": "list<element: string>",
    "source": "string",
    "licence": "string",
}
PROMPTS = {
    "captioning": "Provide a one-sentence caption for the provided image.",
    "open_vqa": "{question}\nAnswer the question with a single word or phrase.",
    "choice_vqa": "{question}\nOptions: {options}\nAnswer with the option's text.",
    "grounding": (
        "Based on the Knowledge: {knowledge}\nPlease provide the bounding box coordinates of the "
        "region <ref>{question}</ref>."
    ),
}


@pytest.fixture(scope="module")
def tables():
    return {task: pq.read_table(POCKET / "data" / f"{task}.parquet") for task in TASKS}


@pytest.fixture(scope="module")
def rows(tables):
    return {task: table.to_pylist() for task, table in tables.items()}


@pytest.fixture(scope="module")
def manifests():
    return {path.stem: yaml.safe_load(path.read_text()) for path in POCKET.glob("*.yaml")}


def by_split(rows):
    return {split: [r for r in rows if r["split"] == split] for split in ("train", "test")}


def test_one_manifest_and_one_file_per_task(manifests):
    files = {path.stem for path in (POCKET / "data").iterdir()}
    assert set(manifests) == set(TASKS) == files


@pytest.mark.parametrize("task", TASKS)
def test_columns_and_types(tables, task):
    schema = tables[task].schema
    found = {f.name: re.sub(r"list<\w+:", "list<element:", str(f.type)) for f in schema}
    assert found == COLUMNS


@pytest.mark.parametrize("task", TASKS)
def test_counts_ids_and_order(rows, task):
    assert Counter(r["split"] for r in rows[task]) == {"train": 600, "test": 120}
    keys = [(r["split"], r["id"]) for r in rows[task]]
    assert keys == sorted(keys)
    assert len({r["id"] for r in rows[task]}) == 720


@pytest.mark.parametrize("task", TASKS)
def test_images_are_small_webp_of_the_stated_size(rows, task):
    for row in rows[task]:
        assert row["image"]["path"] is None
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            image.load()
            assert image.format == "WEBP"
            assert image.size == (row["width"], row["height"])
            assert max(image.size) <= 224


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"flags_choice"}))
def test_splits_share_no_object(rows, task):
    parts = by_split(rows[task])
    seen = {name: {key for r in part for key in r["objects"]} for name, part in parts.items()}
    assert all(seen.values())
    assert not seen["train"] & seen["test"]


def test_no_object_is_trained_on_in_one_task_and_tested_in_another(rows):
    both = {"train": set(), "test": set()}
    for task in set(TASKS) - {"flags_choice"}:
        for row in rows[task]:
            both[row["split"]].update(row["objects"])
    assert not both["train"] & both["test"]


@pytest.mark.parametrize("task", TASKS)
def test_splits_share_no_image(rows, task):
    parts = by_split(rows[task])
    bytes_of = {name: {r["image"]["bytes"] for r in part} for name, part in parts.items()}
    assert not bytes_of["train"] & bytes_of["test"]


def test_flags_ask_for_the_same_countries_in_both_splits(rows):
    parts = by_split(rows["flags_choice"])
    countries = {name: {r["answers"][0] for r in part} for name, part in parts.items()}
    assert countries["train"] == countries["test"]


@pytest.mark.parametrize("task", CHOICES)
def test_exactly_one_option_is_right_and_its_place_is_uniform(rows, task):
    count = CHOICES[task]
    for row in rows[task]:
        assert len(set(row["choices"])) == len(row["choices"]) == count
        assert row["answers"] == [row["choices"][row["answer_index"]]]
    places = Counter(r["answer_index"] for r in rows[task])
    deviation = math.sqrt(720 / count * (1 - 1 / count))
    assert all(abs(places[i] - 720 / count) < 4 * deviation for i in range(count))


@pytest.mark.parametrize("task", [*OPEN, "stamps_caption"])
def test_answers_are_short_and_present(rows, task):
    for row in rows[task]:
        assert row["answers"] and all(a.strip() == a != "" for a in row["answers"])
        assert row["choices"] is None and row["box"] is None
        longest = 25 if task == "stamps_caption" else 1
        assert all(len(a.split()) <= longest for a in row["answers"])
        assert (row["question"] is None) == (task == "stamps_caption")


def test_test_codes_of_signs_are_unseen(rows):
    parts = by_split(rows["signs_ocr"])
    codes = {name: {r["answers"][0] for r in part} for name, part in parts.items()}
    assert not codes["train"] & codes["test"]
    assert all(re.fullmatch("[A-Z]{3}", code) for part in codes.values() for code in part)


def test_numbers_are_numbers(rows):
    assert all(re.fullmatch(r"[1-9]\d{1,2}", r["answers"][0]) for r in rows["numbers_ocr"])


def test_kinds_are_the_same_eight_in_both_splits(rows):
    parts = by_split(rows["clipart_kind"])
    kinds = [Counter(r["answers"][0] for r in part) for part in parts.values()]
    assert len(kinds[0]) == 8 and kinds[0].keys() == kinds[1].keys()
    assert set(kinds[0].values()) == {75} and set(kinds[1].values()) == {15}


def test_boxes_lie_inside_and_are_neither_slivers_nor_the_whole(rows):
    for row in rows["maps_ground"]:
        x1, y1, x2, y2 = row["box"]
        assert 0 <= x1 < x2 <= row["width"] and 0 <= y1 < y2 <= row["height"]
        assert 0.01 < (x2 - x1) * (y2 - y1) / (row["width"] * row["height"]) < 0.75
        assert row["question"] in row["knowledge"]


def test_boxes_enclose_a_patch_of_one_colour(rows):
    """The commonest colour in the box is commoner there than in the rest of the picture."""
    apart = 0
    for row in rows["maps_ground"][::20]:
        image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB").quantize(12)
        box = image.crop([round(v) for v in row["box"]])
        counts = {colour: count for count, colour in image.getcolors()}
        count, colour = max(box.getcolors())
        area, rest = math.prod(box.size), math.prod(image.size) - math.prod(box.size)
        apart += count / area > (counts[colour] - count) / rest
    assert apart >= 30  # of 36; a region may be thin, or its box hold a larger neighbour


@pytest.mark.parametrize("task", RELATED)
def test_related_tasks_ask_for_the_page_of_the_same_pictures(rows, task):
    pages = {"white", "yellow", "green", "blue", "pink", "gray"}
    assert {r["answers"][0] for r in rows[task]} == pages
    for row, shown in zip(rows[task], rows[RELATED[task]], strict=True):
        assert (row["question"], row["image"]) == ("What colour is the page?", shown["image"])
        assert (row["split"], row["objects"]) == (shown["split"], shown["objects"])


def test_page_colours_are_those_that_were_painted(rows):
    """The page is the first draw of a drawing's row, whose random state its name decides."""
    pages = ["blue", "gray", "green", "pink", "white", "yellow"]
    drawn = [Random(r["id"]).choice(pages) for r in rows["clipart_kind"]]
    assert [r["answers"][0] for r in rows["clipart_page"]] == drawn


def test_related_tasks_and_manifests_are_made_again_from_what_is_shipped(tmp_path):
    shutil.copytree(POCKET, tmp_path / "pocket", ignore=shutil.ignore_patterns("backbone"))
    data = tmp_path / "pocket/data"
    for task in RELATED:
        (data / f"{task}.parquet").unlink()
    write_related(data)
    write_manifests(data.parent, data)
    for file in [*(f"data/{task}.parquet" for task in RELATED), *(f"{t}.yaml" for t in TASKS)]:
        assert (tmp_path / "pocket" / file).read_bytes() == (POCKET / file).read_bytes()


@pytest.mark.parametrize("task", TASKS)
def test_manifest_is_valid_and_tells_the_truth(manifests, task):
    manifest = manifests[task]
    schema = yaml.safe_load((ROOT / "workflow/schemas/manifest.schema.yaml").read_text())
    jsonschema.validate(manifest, schema)
    assert manifest["name"] == task
    assert manifest["prompt"] == PROMPTS[manifest["kind"]]
    for split, count in (("train", 600), ("test", 120)):
        part = manifest[split]
        checksum = hashlib.sha256((POCKET / part["file"]).read_bytes()).hexdigest()
        assert (part["split"], part["rows"], part["sha256"]) == (split, count, checksum)


@pytest.mark.parametrize("task", TASKS)
def test_every_package_has_a_licence_text(manifests, task):
    for package in manifests[task]["source"]["name"].split(", "):
        assert (POCKET / "licences" / f"{package}.txt").stat().st_size > 500


def test_rows_name_source_and_licence(rows):
    assert all(r["source"] and r["licence"] for part in rows.values() for r in part)


def test_the_stream_is_small():
    assert sum(path.stat().st_size for path in (POCKET / "data").iterdir()) < 40e6
