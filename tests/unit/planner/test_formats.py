"""Number formats that a device cannot compute in are named, with the field and what to write."""

import pytest
from tests.unit.planner.models import CPU, engine, model, on

from remuda import planner

CASES = [
    pytest.param(
        on("T4") | engine(dtype="bfloat16"),
        "spec.engine.dtype: the T4 cannot compute in bfloat16",
        "write float16, or auto",
        id="bfloat16 on T4",
    ),
    pytest.param(
        on("T4") | engine(kvCacheDtype="fp8"),
        "spec.engine.kvCacheDtype: the T4 has no FP8 units: kvCacheDtype fp8 cannot be used on it",
        "leave it at auto; FP8 computes on an L4, L40S, H100 or newer",
        id="fp8 KV on T4",
    ),
    pytest.param(
        on("A100-80GB") | engine(kvCacheDtype="fp8"),
        (
            "warning: spec.engine.kvCacheDtype: the A100-80GB has no FP8 units: kvCacheDtype fp8 works with some "
            "attention kernels only (FlashInfer)"
        ),
        "leave it at auto; FP8 computes on an L4, L40S, H100 or newer",
        id="fp8 KV on A100",
    ),
    pytest.param(
        on("A100-80GB") | engine(quantization="fp8"),
        (
            "warning: spec.engine.quantization: the A100-80GB has no FP8 units: weights take half the memory, but"
            " nothing becomes faster"
        ),
        "FP8 computes on an L4, L40S, H100 or newer",
        id="fp8 on A100",
    ),
    pytest.param(
        on("A10G") | engine(quantization="fp8_per_block"),
        "spec.engine.quantization: the A10G has no FP8 units, which fp8_per_block needs",
        "awq or gptq (INT4), or a GPU of capability 8.9 such as L4 or H100",
        id="fp8 blocks on A10G",
    ),
    pytest.param(
        on("T4") | engine(quantization="mxfp4"),
        "spec.engine.quantization: quantization mxfp4 needs compute capability 8.0; the T4 has 7.5",
        "choose another format or another GPU",
        id="mxfp4 on T4",
    ),
    pytest.param(
        CPU | engine(quantization="fp8"),
        "spec.engine.quantization: quantization fp8 does not run on a CPU: vLLM has no kernel for it",
        "INT8 (W8A8) or INT4 weights run: compressed-tensors, awq or gptq",
        id="fp8 on CPU",
    ),
    pytest.param(
        CPU | engine(quantization="modelopt"),
        "warning: spec.engine.quantization: quantization modelopt is not known to run on a CPU",
        "known to run: awq, compressed-tensors, gptq, inc",
        id="modelopt on CPU",
    ),
]


@pytest.mark.req("E6.refusals", level="unit")
@pytest.mark.parametrize(("fields", "said", "hint"), CASES)
def test_formats_the_device_lacks_are_named(fields: dict[str, object], said: str, hint: str):
    (problem,) = planner.check(model(**fields))
    assert str(problem) == f"{said}\n  hint: {hint}"
