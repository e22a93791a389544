"""Checks whether the device can compute in the chosen number formats and quantisation methods.

Sources: `get_min_capability` of each quantisation method in vLLM 0.32.0; its checks of bfloat16 (compute capability
8.0) and of FP8 in Triton attention (8.9); and runs on a CPU, where INT8 (W8A8), INT4, AWQ and GPTQ weights work and
FP8, static or online, has no kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from remuda.planner.facts import ModelFacts, error, warning
from remuda.spec import Problem

BFLOAT16 = (8, 0)
MIN_CAPABILITY: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "awq": (7, 5),
        "gptq": (6, 0),
        "fp8": (7, 5),
        "fp8_per_tensor": (7, 5),
        "fp8_per_block": (7, 5),
        "modelopt": (8, 0),
        "modelopt_fp4": (7, 5),
        "mxfp4": (8, 0),
        "experts_int8": (8, 0),
        "moe_wna16": (7, 0),
        "torchao": (7, 5),
    }
)
RUNS_ON_CPU = frozenset({"awq", "gptq", "compressed-tensors", "inc"})
READS_OTHERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {"moe_wna16": frozenset({"awq", "gptq"}), "inc": frozenset({"auto-round"})}
)
"""Methods that read weights of other methods (`override_quantization_method` in vLLM 0.32.0)."""
_FP8 = frozenset({"fp8", "fp8_per_tensor", "fp8_per_block"})


def check_formats(facts: ModelFacts) -> Iterator[Problem]:
    """Compare dtype, quantisation and the format of the KV cache with the device and with config.json."""
    if facts.variant == "cpu":
        yield from _check_cpu(facts)
    if facts.gpu is not None:
        yield from _check_gpu(facts)
    yield from _check_config(facts)


def _check_cpu(facts: ModelFacts) -> Iterator[Problem]:
    method = facts.engine.quantization
    if method in _FP8:
        message = f"quantization {method} does not run on a CPU: vLLM has no kernel for it"
        yield error("engine.quantization", message, "INT8 (W8A8) or INT4 weights run: compressed-tensors, awq or gptq")
    elif method is not None and method not in RUNS_ON_CPU:
        message = f"quantization {method} is not known to run on a CPU"
        yield warning("engine.quantization", message, f"known to run: {', '.join(sorted(RUNS_ON_CPU))}")


def _check_gpu(facts: ModelFacts) -> Iterator[Problem]:
    gpu, engine = facts.gpu, facts.engine
    assert gpu is not None
    if engine.dtype == "bfloat16" and "bfloat16" not in gpu.formats:
        yield error("engine.dtype", f"the {gpu.name} cannot compute in bfloat16", "write float16, or auto")
    if engine.quantization is not None:
        yield from _check_method(facts, engine.quantization)
    if engine.kv_cache_dtype.startswith("fp8") and "fp8" not in gpu.formats:
        below = gpu.compute_capability is not None and gpu.compute_capability < BFLOAT16
        message = f"the {gpu.name} has no FP8 units: kvCacheDtype {engine.kv_cache_dtype} "
        message += "cannot be used on it" if below else "works with some attention kernels only (FlashInfer)"
        report = error if below else warning
        yield report("engine.kvCacheDtype", message, "leave it at auto; FP8 computes on an L4, L40S, H100 or newer")


def _check_method(facts: ModelFacts, method: str) -> Iterator[Problem]:
    gpu = facts.gpu
    assert gpu is not None
    least = MIN_CAPABILITY.get(method)
    capability = gpu.compute_capability
    if least and capability and capability < least:
        message = (
            f"quantization {method} needs compute capability {_dotted(least)}; the {gpu.name} has {_dotted(capability)}"
        )
        yield error("engine.quantization", message, "choose another format or another GPU")
    elif method == "fp8_per_block" and "fp8" not in gpu.formats:
        message = f"the {gpu.name} has no FP8 units, which {method} needs"
        yield error("engine.quantization", message, "awq or gptq (INT4), or a GPU of capability 8.9 such as L4 or H100")
    elif method in _FP8 and "fp8" not in gpu.formats:
        message = f"the {gpu.name} has no FP8 units: weights take half the memory, but nothing becomes faster"
        yield warning("engine.quantization", message, "FP8 computes on an L4, L40S, H100 or newer")


def _check_config(facts: ModelFacts) -> Iterator[Problem]:
    """Compare the quantisation of the weights, which config.json states, with the file and the device."""
    own = facts.config.get("quantization_config")
    method = own.get("quant_method") if isinstance(own, dict) else None
    asked = facts.engine.quantization
    if isinstance(method, str) and asked is not None and not _takes(asked, method):
        message = f"quantization {asked} does not fit the weights, which are in {method}"
        yield error("engine.quantization", message, "leave quantization out: config.json of the model states it")
    if facts.variant == "cpu" and isinstance(method, str) and method.startswith("fp8"):
        yield error("source", f"the weights are in {method}, which does not run on a CPU", "use INT8 or INT4 weights")


def _takes(asked: str, method: str) -> bool:
    return asked.partition("_")[0] == method.partition("_")[0] or method in READS_OTHERS.get(asked, ())


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
