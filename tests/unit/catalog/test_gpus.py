"""The GPU table has common products with sources, and finds them under the names that people and clusters use."""

import re
from datetime import date

import pytest

from remuda.catalog import find_gpu, find_parsers, list_gpus, suggest_gpus
from remuda.spec.documents.fields import field_docs
from remuda.spec.documents.model import Hardware


def test_the_table_has_common_gpus():
    names = {gpu.name for gpu in list_gpus()}
    assert names == {"T4", "L4", "A10G", "L40S", "A100-40GB", "A100-80GB", "H100", "H200", "B200", "MI300X"}


@pytest.mark.parametrize("gpu", list_gpus(), ids=lambda gpu: gpu.name)
def test_every_row_has_a_source_and_is_consistent(gpu):
    assert gpu.source.startswith("https://")
    assert date(2026, 1, 1) <= gpu.date
    assert (gpu.compute_capability is None) == (gpu.vendor != "nvidia")
    assert 0.93 < gpu.memory_mib / 1024 / gpu.memory_gb < 1.001, "vendors' GB are near GiB"
    if gpu.compute_capability:
        assert ("bfloat16" in gpu.formats) == (gpu.compute_capability >= (8, 0))
        assert ("fp8" in gpu.formats) == (gpu.compute_capability >= (8, 9))
        assert ("fp4" in gpu.formats) == (gpu.compute_capability >= (10, 0))
    assert find_gpu(gpu.name) == gpu


@pytest.mark.parametrize("gpu", list_gpus(), ids=lambda gpu: gpu.name)
def test_every_name_can_be_written_in_a_file(gpu):
    for name in (gpu.name, *gpu.names):
        assert find_gpu(name) == gpu
        assert Hardware(gpu=name).gpu == name


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("l4", "L4"),
        ("NVIDIA-A100-SXM4-40GB", "A100-40GB"),
        ("nvidia-h100-80gb", "H100"),
        ("NVIDIA H100", "H100"),
        ("Tesla-T4", "T4"),
        ("a100 80gb", "A100-80GB"),
    ],
)
def test_a_gpu_is_found_in_every_spelling(name: str, product: str):
    found = find_gpu(name)
    assert found is not None
    assert found.name == product


@pytest.mark.parametrize(
    ("name", "suggested"), [("A100", ("A100-40GB", "A100-80GB")), ("H10", ("H100",)), ("L40", ("L40S",)), ("zzz", ())]
)
def test_an_unknown_gpu_gets_the_nearest_name(name: str, suggested: tuple[str, ...]):
    assert find_gpu(name) is None
    assert suggest_gpus(name) == suggested


def test_parsers_are_known_for_the_default_engine():
    from remuda.spec import DEFAULT_ENGINE_VERSION

    parsers = find_parsers(DEFAULT_ENGINE_VERSION)
    assert parsers is not None
    assert {"hermes", "llama3_json", "qwen3_coder"} <= set(parsers.tool)
    assert {"qwen3", "deepseek_r1"} <= set(parsers.reasoning)
    assert find_parsers("0.0.1") is None
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name) for name in parsers.tool + parsers.reasoning)


def test_reference_page_names_every_gpu():
    text = field_docs(Hardware)["gpu"]
    assert [gpu.name for gpu in list_gpus() if f" {gpu.name}," not in text] == []
