"""Weights in 4 bits: where they are refused, and what the library is told."""

import pytest
import torch

from stages.core.backbone import quantization
from stages.core.backbone.load import load_backbone
from stages.core.base.errors import InputError

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)


@pytest.fixture
def machine(monkeypatch):
    """One with the package and a GPU; a test takes away what it likes."""

    def make(package=True, gpus=("0",), cluster=False):
        monkeypatch.setattr(quantization, "find_spec", lambda _: package or None)
        monkeypatch.setattr(quantization, "visible_gpus", lambda: list(gpus))
        monkeypatch.setattr(quantization.shutil, "which", lambda _: "sbatch" if cluster else None)

    return make


def test_nothing_is_needed_without(machine):
    machine(package=False, gpus=())
    quantization.check("none", "fsdp")
    assert quantization.options("none", CPU, torch.float32) == {}


def test_a_gpu_here_or_a_cluster_will_do(machine):
    machine()
    quantization.check("4bit", "none")
    machine(gpus=(), cluster=True)
    quantization.check("4bit", "none")


@pytest.mark.parametrize(
    ("there", "sharding", "message"),
    [
        ({"package": False}, "none", "4bit: needs bitsandbytes, which is not installed"),
        ({"gpus": ()}, "none", "4bit: needs a GPU, and none is here"),
        ({}, "fsdp", "4bit: weights in 4 bits cannot be divided; set training.sharding to none"),
    ],
)
def test_it_is_refused_before_the_first_job(machine, there, sharding, message):
    machine(**there)
    with pytest.raises(InputError, match=message):
        quantization.check("4bit", sharding)


def test_a_job_on_the_cpu_refuses_it(tiny_folder):
    settings = {"dtype": "float32", "quantization": "4bit", "image_size": None, "max_tiles": 1}
    with pytest.raises(InputError, match="4bit: needs a GPU, and this job runs on the CPU"):
        load_backbone(tiny_folder, settings, device="cpu")


def test_the_language_model_alone_is_quantised(monkeypatch):
    monkeypatch.setattr("transformers.BitsAndBytesConfig", dict)
    found = quantization.options("4bit", GPU, torch.bfloat16)
    told = found["quantization_config"]
    assert found["device_map"] == {"": GPU}
    assert (told["load_in_4bit"], told["bnb_4bit_quant_type"]) == (True, "nf4")
    assert told["bnb_4bit_compute_dtype"] == torch.bfloat16
    assert {"lm_head", "model.vision_tower", "model.visual"} <= set(told["llm_int8_skip_modules"])
