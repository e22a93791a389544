"""Stages of a start, from lines of real logs of vLLM 0.32.0."""

import itertools

import pytest

from remuda.engine.diagnosis.stages import LineMeaning, Stage, later, parse_line
from remuda.engine.status import EngineFacts

LINES = {
    "arguments": (
        "(APIServer pid=1) INFO 11-21 10:46:51 [api_utils.py:286] non-default args: {'port': 9101, 'model': 'tiny'}",
        LineMeaning(Stage.READING),
    ),
    "length": (
        "(APIServer pid=1) INFO 11-21 10:47:00 [model.py:2152] Using max model len 2048",
        LineMeaning(Stage.READING, facts=EngineFacts(max_model_len=2048)),
    ),
    "core": (
        "(EngineCore pid=2) INFO 11-21 10:47:06 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: m",
        LineMeaning(Stage.CORE, facts=EngineFacts(version="0.32.0")),
    ),
    "loading": (
        "(EngineCore pid=2) INFO 11-21 10:47:06 [cpu_model_runner.py:68] Starting to load model tiny...",
        LineMeaning(Stage.LOADING),
    ),
    "shards": (
        "Loading safetensors checkpoint shards:  45% Completed | 9/20 [00:00<00:00, 236.97it/s]",
        LineMeaning(Stage.LOADING, 0.45),
    ),
    "kv": (
        "(EngineCore pid=2) INFO [kv_cache_utils.py:2327] CPU KV cache size: 32,768 tokens, Maximum concurrency",
        LineMeaning(Stage.KV_CACHE, facts=EngineFacts(kv_tokens=32768)),
    ),
    "gpu kv": (
        "INFO GPU KV cache size: 1,234,560 tokens",
        LineMeaning(Stage.KV_CACHE, facts=EngineFacts(kv_tokens=1234560)),
    ),
    "graphs": ("Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  50%|#", LineMeaning(Stage.COMPILING, 0.5)),
    "initialised": (
        "INFO [core.py:402] init engine (profile, create kv cache, warmup model) took 0.03 s",
        LineMeaning(Stage.LISTENING),
    ),
    "listening": ("INFO:     Application startup complete.", LineMeaning(Stage.PROBING)),
    "port": ("OSError: [Errno 98] Address already in use", LineMeaning(port_taken=True)),
    "route": ("(APIServer pid=1) INFO [launcher.py:195] Route: /v1/completions, Methods: POST", None),
    "eager warning": (
        "WARNING [vllm.py:1703] Enforce eager set, disabling torch.compile, CUDAGraphs, and JIT kernel warmup.",
        None,
    ),
    "empty": ("", None),
}


@pytest.mark.parametrize(("line", "meaning"), LINES.values(), ids=LINES)
def test_a_line_of_the_log_names_the_stage(line, meaning):
    assert parse_line(line) == meaning


@pytest.mark.parametrize(("one", "other"), list(itertools.product(Stage, Stage)))
def test_the_later_of_two_stages_counts(one, other):
    order = list(Stage)
    assert later(one, other) is order[max(order.index(one), order.index(other))]
