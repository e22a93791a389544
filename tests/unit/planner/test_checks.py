"""Checks of versions, GPUs and counts of engines, and files in which nothing is wrong."""

import pytest
from tests.unit.planner.models import CPU, engine, model, on

from remuda import planner, spec
from remuda.vllm.dialect import DIALECTS

CASES = [
    pytest.param(
        engine(version="0.31.0"),
        "spec.engine.version: Remuda does not know vLLM 0.31.0",
        "known: 0.32.0",
        id="version",
    ),
    pytest.param(
        on("A100"),
        "warning: spec.hardware.gpu: the GPU A100 is not in the table, so nothing was checked against it",
        "did you mean A100-40GB or A100-80GB?",
        id="unknown GPU",
    ),
    pytest.param(
        on("L4", gpuMemory="40Gi"),
        "spec.hardware.gpuMemory: gpuMemory 40Gi is more than the L4 has (24 GB, 22.5 GiB)",
        "name a larger GPU, or leave gpuMemory out",
        id="memory",
    ),
    pytest.param(
        {"replicas": 0},
        "warning: spec.replicas: with replicas: 0 no engine is started, and nothing answers",
        "set 1; on Kubernetes, scaling with min: 0 starts an engine on demand",
        id="no replicas",
    ),
    pytest.param(
        {"replicas": 11, "scaling": {"min": 2}},
        "warning: spec.replicas: replicas 11 is outside of scaling, which goes from 2 to 10",
        "replicas is the number of engines to start with",
        id="more replicas than scaling allows",
    ),
    pytest.param(
        {"replicas": 1, "scaling": {"min": 2, "max": 4}},
        "warning: spec.replicas: replicas 1 is outside of scaling, which goes from 2 to 4",
        "replicas is the number of engines to start with",
        id="fewer replicas than scaling allows",
    ),
]


@pytest.mark.req("E6.refusals", level="unit")
@pytest.mark.parametrize(("fields", "said", "hint"), CASES)
def test_versions_devices_and_counts_are_checked(fields: dict[str, object], said: str, hint: str):
    (problem,) = planner.check(model(**fields))
    assert str(problem) == f"{said}\n  hint: {hint}"


SENSIBLE = [
    pytest.param({}, id="nothing said"),
    pytest.param(CPU | engine(quantization="awq", blockSize=32, kvCacheDtype="fp8"), id="AWQ and fp8 cache on CPU"),
    pytest.param(CPU | engine(parallel={"tensor": 2, "pipeline": 2}), id="ranks on CPU"),
    pytest.param(
        on("H100", gpuCount=8, gpuMemory="80Gi") | engine(quantization="fp8", parallel={"tensor": 8}), id="H100 FP8"
    ),
    pytest.param(on("L4") | engine(kvCacheDtype="fp8", blockSize=16, dtype="bfloat16"), id="L4"),
    pytest.param(engine(parallel={"tensor": 8, "pipeline": 2, "nodes": 2}), id="two machines"),
    pytest.param(engine(speculative={"method": "ngram", "promptLookupMax": 3}), id="ngram"),
    pytest.param(engine(extraArgs={"stream-interval": 4, "enable-request-id-headers": True}), id="free flags"),
    pytest.param({"replicas": 2, "scaling": {"min": 2, "max": 2}}, id="replicas within scaling"),
    pytest.param({"endpoints": [{"url": "http://a:1"}]}, id="running engines"),
]


@pytest.mark.parametrize("fields", SENSIBLE)
@pytest.mark.parametrize("variant", [None, "cpu", "cuda"])
def test_valid_combinations_have_no_problems(fields: dict[str, object], variant: planner.Variant | None):
    portable = fields.get("hardware") or "engine" not in fields
    assert planner.check(model(**fields), variant if portable else None) == ()


def test_a_portable_file_is_only_warned_on_a_cpu():
    assert [str(problem) for problem in planner.check(model(**engine(kvOffload="8Gi")), "cpu")] == [
        "warning: spec.engine.kvOffload: kvOffload needs a GPU and is not used on a CPU\n  hint: remove kvOffload"
    ]
    assert planner.check(model(**engine(kvOffload="8Gi")), "cuda") == ()


def test_default_engine_version_is_known():
    assert spec.DEFAULT_ENGINE_VERSION in DIALECTS
