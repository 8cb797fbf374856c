"""What is read of the answers of SLURM's commands, and what of a run would not work there."""

import os
import stat
from pathlib import Path

import pytest

from stages.core.base.errors import InputError
from stages.core.cluster.check import Request, faults, notes, summary
from stages.core.cluster.settings import Settings, read_settings
from stages.core.cluster.site import Site, ask_site, gpus, minutes, read_site
from stages.tools.cluster_check import main, requests

ANSWERS = {
    "config": (
        "Configuration data as of 2026-01-01T00:00:00\n"
        "AccountingStorageEnforce = associations,limits,qos\n"
        "AccountingStorageType   = accounting_storage/slurmdbd\n"
        "MinJobAge               = 300 sec\n"
        "SLURM_VERSION           = 23.11.4\n"
    ),
    "partitions": (
        "PartitionName=cpu AllowGroups=ALL Default=YES MaxTime=7-00:00:00"
        " MaxMemPerNode=UNLIMITED State=UP TotalNodes=100\n"
        "PartitionName=gpu Default=NO MaxTime=04:00:00 MaxMemPerNode=400000 State=UP\n"
        "PartitionName=old Default=NO MaxTime=UNLIMITED MaxMemPerNode=UNLIMITED State=DOWN\n"
    ),
    "nodes": (
        "cpu|192000|48|(null)|skylake|100\n"
        "gpu|512000|64|gpu:nvidia_a100-sxm4-80gb:4(S:0-1)|a100,nvlink|8\n"
        "gpu|256000|32|gpu:v100:8|v100|2\n"
        "old|64000+|16|(null)|(null)|3\n"
    ),
    "associations": (
        "lab|high,normal|normal|200|\n"
        "teaching|normal|||1-00:00:00\n"
        "both|normal||5|00:10:00\nboth|high||7|\n"
    ),
    "qos": "normal||\nhigh|20|02:00:00\nsecret||\n",
    "reservations": "ReservationName=course StartTime=2026-01-01T00:00:00 Nodes=g1\n",
}
A100 = "nvidia_a100-sxm4-80gb"


@pytest.fixture(scope="module")
def site() -> Site:
    return read_site(ANSWERS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7-00:00:00", 10080),
        ("1-12", 2160),
        ("2-03:30", 3090),
        ("04:00:00", 240),
        ("90:00", 90),
        ("90", 90),
        ("UNLIMITED", None),
        ("infinite", None),
        ("", None),
    ],
)
def test_times_are_read_as_slurm_writes_them(text: str, expected: int | None) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu:a100:2", {"a100": 2}),
        ("gpu:nvidia_a100-sxm4-80gb:4(S:0-1)", {A100: 4}),
        ("gpu:a100:2(S:0,2),gpu:v100:1,shard:8", {"a100": 2, "v100": 1}),
        ("gpu:3", {"": 3}),
        ("gpu", {"": 1}),
        ("(null)", {}),
        ("craynetwork:4", {}),
    ],
)
def test_gpus_are_read_as_slurm_writes_them(text: str, expected: dict[str, int]) -> None:
    assert gpus(text) == expected


def test_a_site_is_what_its_commands_say(site: Site) -> None:
    assert (site.version, site.remembers, site.accounting) == ("23.11.4", 300, True)
    assert site.default == "cpu"
    gpu = site.partitions["gpu"]
    assert (gpu.minutes, gpu.memory, gpu.up, gpu.largest) == (240, 400000, True, 400000)
    assert [(n.memory, n.cpus, n.gpus, n.count) for n in gpu.nodes] == [
        (512000, 64, {A100: 4}, 8),
        (256000, 32, {"v100": 8}, 2),
    ]
    assert not site.partitions["old"].up
    assert site.partitions["old"].nodes[0].memory == 64000
    assert set(site.accounts) == {"lab", "teaching", "both"}
    assert site.reservations == {"course"}


def test_the_shortest_limit_counts(site: Site) -> None:
    assert site.minutes("gpu") == 240
    assert site.minutes(None) == 10080
    assert site.minutes("cpu,gpu") == 240
    assert site.minutes("gpu", "lab", "high") == 120
    assert site.minutes("cpu", "teaching") == 1440
    assert site.submitted("lab", "high") == 20
    assert site.submitted("lab") == 200
    assert site.submitted("teaching") is None
    assert (site.minutes("cpu", "both"), site.submitted("both")) == (10080, None)
    assert site.accounts["both"].qos == {"normal", "high"}


def test_without_accounting_there_are_no_accounts() -> None:
    config = "AccountingStorageType = accounting_storage/none\nMinJobAge = 60 sec\n"
    site = read_site(ANSWERS | {"config": config, "associations": "", "qos": ""})
    assert (site.accounting, site.remembers, site.accounts, site.qos) == (False, 60, {}, {})


TRAIN = Request("train_expert", 200, 64000, 16, 2, A100, "gpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"partition": "gpuu"}, "unknown partition 'gpuu'. Did you mean 'gpu'?"),
        ({"partition": "old", "gpus": 0}, "partition old is not up"),
        ({"partition": "cpu"}, "no node of partition cpu has GPUs: set CMIT_SLURM_GPU_PARTITION"),
        ({"partition": ""}, "no node of partition cpu has GPUs"),
        ({"gpu_model": "a100"}, "train_expert, in its partition: unknown GPU type 'a100'"),
        ({"gpus": 8}, "has more than 4 GPUs of that kind, 8 are asked for"),
        ({"gpus": 8, "gpu_model": ""}, None),
        ({"memory": 450000}, "gives a job 450000 MB of memory, at most 400000"),
        ({"gpus": 8, "gpu_model": "v100", "memory": 300000}, "300000 MB of memory beside its GPUs"),
        ({"cpus": 65}, "has 65 CPUs for a job, at most 64"),
        ({"partition": "cpu,gpu"}, None),
    ],
)
def test_what_no_node_can_run_is_said_in_a_sentence(
    site: Site, changes: dict, words: str | None
) -> None:
    found = faults(site, Settings(), [Request(**vars(TRAIN) | changes)])
    if words is None:
        assert found == []
    else:
        assert len(found) == 1
        assert words in found[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(account="lab", qos="high", reservation="course"), None),
        (Settings(account="labb"), "unknown account 'labb'. Did you mean 'lab'?"),
        (Settings(account="lab", qos="secret"), "unknown QOS 'secret'"),
        (Settings(account="teaching", qos="high"), "unknown QOS 'high'"),
        (Settings(reservation="exam"), "there is no reservation 'exam' now"),
        (Settings(constraint="[a100|v100]&nvlink"), None),
        (Settings(constraint="a100&infiniband"), "unknown feature of nodes 'infiniband'"),
    ],
)
def test_names_that_a_site_does_not_know_are_said(
    site: Site, settings: Settings, words: str | None
) -> None:
    found = faults(site, settings, [])
    assert found == [] if words is None else words in "\n".join(found)


def test_a_time_above_the_limit_and_a_small_queue_are_noted(site: Site) -> None:
    settings = Settings(account="lab", qos="high")
    long = Request(**vars(TRAIN) | {"minutes": 720})
    found = notes(site, settings, [long, long])
    assert found == [
        "train_expert asks for 120 minutes instead of 720: partition gpu, your account or QOS "
        "allows no more. Training and prediction then go on in the next attempt.",
        "at most 20 jobs of yours at a time; Snakemake waits with the others.",
    ]


def test_the_summary_says_what_is_used(site: Site) -> None:
    lines = summary(site, Settings(gpu_partition="gpu"))
    assert lines[0] == "SLURM 23.11.4, with accounting, finished jobs are known for 300 s"
    assert "partition cpu: at most 168 h, 100 x 48 CPUs, 192000 MB (default)" in lines
    assert lines[2].endswith("2 x 32 CPUs, 256000 MB, 8 GPU v100 (used for GPUs)")
    assert lines[-1] == "set: CMIT_SLURM_GPU_PARTITION=gpu"


def test_a_mistyped_variable_is_named() -> None:
    with pytest.raises(
        InputError, match="unknown variable 'CMIT_SLURM_GPU_PARTITON'. Did you mean"
    ):
        read_settings({"CMIT_SLURM_GPU_PARTITON": "gpu"})
    with pytest.raises(InputError, match="CMIT_SLURM_GPU_FLAG: unknown flag for GPUs 'gress'"):
        read_settings({"CMIT_SLURM_GPU_FLAG": "gress"})
    assert read_settings({"CMIT_SLURM_QOS": " high ", "HOME": "/"}) == Settings(qos="high")


def test_what_a_printed_plan_asks_for() -> None:
    plan = (
        "rule train_expert:\n    input: a\n    output: b\n    jobid: 3\n"
        "    resources: tmpdir=<TBD>, mem_mb=64000, mem=64 GB, slurm_partition=gpu, runtime=200,"
        f" gpu=2, cpus_per_task=16, gpu_model={A100}\n\n"
        "localrule score:\n    input: b\n    output: c\n    resources: tmpdir=<TBD>\n\n"
    )
    assert requests(plan + plan) == [TRAIN]


# --- the commands themselves, which are scripts here ---


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first on the search path, with commands that answer as above."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in ANSWERS.items():
        (tmp_path / name).write_text(text)
    answers = {
        "scontrol": 'cat "$2"*',  # config, partitions, reservations
        "sinfo": "cat nodes",
        "sacctmgr": 'case "$*" in *assoc*) cat associations;; *) cat qos;; esac',
    }
    for name, body in answers.items():
        script(folder / name, f"cd {tmp_path} && {body}")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("CMIT_SLURM_")]:
        monkeypatch.delenv(name)
    return folder


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_site_is_asked(commands: Path, site: Site) -> None:
    assert ask_site() == site


def test_a_database_that_is_down_is_no_fault(commands: Path) -> None:
    script(commands / "sacctmgr", "echo 'Unable to contact slurmdbd' >&2; exit 1")
    assert ask_site().accounts == {}


def test_the_command_says_what_there_is(
    commands: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CMIT_SLURM_GPU_PARTITION", "gpu")
    main([])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("SLURM 23.11.4")
    assert lines[-1] == "Nothing stands against a run here."


def test_the_command_names_every_fault(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMIT_SLURM_ACCOUNT", "labb")
    with pytest.raises(InputError) as told:
        main([])
    assert "unknown account 'labb'" in str(told.value)
    assert "\nerror: any GPU job: no node of partition cpu has GPUs" in str(told.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1",
            "Unable",
        ),
        (None, "no such command"),
    ],
)
def test_a_controller_that_does_not_answer_is_an_error(
    commands: Path, monkeypatch: pytest.MonkeyPatch, body: str | None, words: str
) -> None:
    if body is None:
        (commands / "scontrol").unlink()
        monkeypatch.setenv("PATH", str(commands))
    else:
        script(commands / "scontrol", body)
    with pytest.raises(InputError, match=f"scontrol.*{words}"):
        ask_site()
