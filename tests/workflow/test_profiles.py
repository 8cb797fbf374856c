"""What the profiles make of the environment of their user."""

import re
from pathlib import Path

import pytest
from snakemake.profiles import ProfileConfigFileParser

GPU_RULES = (
    "extract_features",
    "profile_gradients",
    "train_expert",
    "predict_backbone",
    "predict_backbone_shard",
    "predict",
    "predict_shard",
)
NAMES = (
    "ACCOUNT",
    "PARTITION",
    "GPU_PARTITION",
    "GPU_MODEL",
    "QOS",
    "RESERVATION",
    "CONSTRAINT",
    "EXTRA",
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(f"CMIT_SLURM_{name}", raising=False)


def profile(name: str) -> dict:
    """The options that Snakemake reads from a profile."""
    with Path("workflow/profiles", name, "config.yaml").open() as file:
        return ProfileConfigFileParser().parse(file)


@pytest.mark.parametrize(("named", "limit"), [("0,3", ["gpu=2"]), ("5", ["gpu=1"]), ("", None)])
def test_local_gpu_jobs_together_use_the_gpus_there_are(monkeypatch, named, limit) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert profile("local").get("resources") == limit


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_the_container_is_no_reason_to_run_again(name) -> None:
    assert set(profile(name)["rerun-triggers"]) == {"code", "input", "mtime", "params"}


def test_a_cluster_that_wants_no_names_gets_none() -> None:
    options = profile("slurm")
    assert options["default-resources"] == ["nodes=1", "mem_mb=2000", "runtime=60"]
    assert not {"set-resources", "slurm-qos", "slurm-reservation"} & set(options)


def test_a_clusters_names_reach_the_jobs(monkeypatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(f"CMIT_SLURM_{name}", f"my_{name.lower()}")
    options = profile("slurm")
    assert options["default-resources"][1:5] == [
        "slurm_account=my_account",
        "slurm_partition=my_partition",
        "constraint=my_constraint",
        "slurm_extra=my_extra",
    ]
    assert options["slurm-qos"] == "my_qos"
    assert options["slurm-reservation"] == "my_reservation"
    assert set(options["set-resources"]) == {
        f"{rule}:{option}"
        for rule in GPU_RULES
        for option in ("slurm_partition=my_gpu_partition", "gpu_model=my_gpu_model")
    }


def test_gpu_rules_of_the_profile_are_those_that_ask_for_gpus() -> None:
    rules = Path("workflow/rules")
    asking = set()
    for file in rules.glob("*.smk"):
        text = file.read_text()
        for block in text.split("\nrule ")[1:]:
            if "gpu=GPUS" in block:
                asking.add(block.split(":")[0])
        copies = re.findall(r"^use rule (\w+) as (\w+) with", text, re.MULTILINE)
        asking |= {copy for rule, copy in copies if rule in asking}
    assert asking == set(GPU_RULES)
