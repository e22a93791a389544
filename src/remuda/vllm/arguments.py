"""A Model as vLLM's command line and environment.

    render_arguments     the flags after the program's name
    render_environment   the variables vLLM needs on top of the process's own (no secrets: those are resolved later)
    render_notes         what was decided for the user, in words

Pure: the same model and target give the same text. Does not know processes, ports in use, downloads or Kubernetes: what
those find out is handed over in `Target`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from remuda import spec
from remuda.errors import RemudaError
from remuda.vllm.dialect import pick_dialect
from remuda.vllm.flags import flags_of, render_flag
from remuda.vllm.owned import find_refusals

LOOPBACK = "127.0.0.1"
DEFAULT_CPU_KV_BYTES = 1024**3
"""KV cache of a CPU engine whose file does not say: vLLM would otherwise take 92 % of the first NUMA node's memory."""

_CONTINUES = frozenset({"chat", "completion", "code"})
"""Capabilities of models whose prefixes vLLM can cache. With `--enable-prefix-caching`, an encoder-decoder such as
Whisper dies at its first request (NotImplementedError: CrossAttentionManager does not support caching); without the
flag, vLLM decides by the model."""
_GENERATES = _CONTINUES | {"transcription"}
_GIB = 1024**3


class ArgumentsError(RemudaError):
    """The model file asks for arguments Remuda does not pass on."""


@dataclass(frozen=True, slots=True)
class Target:
    """What one engine runs on: everything the file does not say."""

    variant: Literal["cpu", "cuda"]
    model_path: str
    """Local folder of the weights (or what a manifest mounts there)."""
    port: int
    host: str = LOOPBACK
    threads: int = 1
    """CPU: OpenMP threads of each rank."""
    cores: tuple[int, ...] = ()
    """CPU: cores this engine may use; ranks are bound to equal shares. Empty: not bound."""
    adapter_paths: Mapping[str, str] = field(default_factory=dict)
    """Adapter name → local folder."""
    draft_path: str | None = None
    """Local folder of the speculative model."""
    node_rank: int = 0
    master_address: str = LOOPBACK
    """Engines over several nodes: which node this is, and where rank 0 is."""
    cache_path: str | None = None
    """Writable folder for compile caches."""


def render_arguments(model: spec.Model, target: Target) -> tuple[str, ...]:
    """Flags for `vllm serve`-like programs, in a stable order."""
    refusal = next(find_refusals(model), None)
    if refusal is not None:
        raise ArgumentsError(f"model {model.metadata.name}: {refusal.place}: {refusal.message}", refusal.hint)
    engine = model.spec.engine
    pick_dialect(engine.version)
    parts = (
        _identity(model, target),
        _memory(engine, target),
        _batching(model, target),
        _execution(engine, target),
        _parallelism(engine.parallel, target),
        _features(engine, target),
        _adapters(engine, target),
        _extra(engine),
    )
    return tuple(text for part in parts for text in part)


def render_environment(model: spec.Model, target: Target) -> dict[str, str]:
    """Variables for the engine's process; the file's own literal `env` last, so it wins over our defaults."""
    engine = model.spec.engine
    env = {
        "VLLM_HOST_IP": target.host,
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0",
        "PYTHONUNBUFFERED": "1",
    }
    if target.cache_path:
        env |= {
            "VLLM_CACHE_ROOT": f"{target.cache_path}/vllm",
            "TORCHINDUCTOR_CACHE_DIR": f"{target.cache_path}/inductor",
            "TRITON_CACHE_DIR": f"{target.cache_path}/triton",
        }
    if engine.parallel.layer_partition:
        env["VLLM_PP_LAYER_PARTITION"] = ",".join(map(str, engine.parallel.layer_partition))
    if target.variant == "cpu":
        env |= _cpu_environment(engine, target)
    return env | {variable.name: variable.value for variable in engine.env if variable.value is not None}


def render_notes(model: spec.Model, target: Target) -> tuple[str, ...]:
    """What was decided beyond or against the file; shown once when an engine is planned."""
    return tuple(_notes(model.spec.engine, target))


def _notes(engine: spec.EngineSettings, target: Target) -> Iterator[str]:
    if target.variant != "cpu":
        return
    mapped = cpu_block_size(engine)
    if engine.block_size is not None and mapped != engine.block_size:
        yield f"blockSize {engine.block_size} is {mapped} on a CPU, where it must be a multiple of 32"
    if engine.kv_cache_memory is None:
        yield "kvCacheMemory is not set: the KV cache takes 1 GiB"
    if not engine.has("max_num_batched_tokens"):
        tokens = cpu_batched_tokens(engine)
        yield f"maxNumBatchedTokens is {tokens} on a CPU: a larger step would make running answers stutter"
    if engine.gpu_memory_utilization is not None:
        yield "gpuMemoryUtilization means nothing on a CPU and is not used"
    if engine.kv_offload is not None:
        yield "kvOffload needs a GPU and is not used"
    if engine.adapters and engine.max_adapters is not None:
        yield "maxAdapters has no effect on a CPU, where every adapter is held ready"
    if engine.cpu_offload is not None:
        yield "cpuOffload means nothing on a CPU and is not used"


def cpu_block_size(engine: spec.EngineSettings) -> int | None:
    """The file's block size rounded up to what CPU attention takes; None leaves vLLM's default (128)."""
    if engine.block_size is None:
        return None
    multiple = pick_dialect(engine.version).cpu_block_multiple
    return -(-engine.block_size // multiple) * multiple


def cpu_batched_tokens(engine: spec.EngineSettings) -> int:
    """Tokens per step on a CPU: the file's, else vLLM's own CPU default, but never less than one step needs."""
    if engine.has("max_num_batched_tokens"):
        return engine.max_num_batched_tokens
    own = pick_dialect(engine.version).cpu_batched_tokens * engine.parallel.gpus
    whole_prompt = 0 if engine.chunked_prefill else (engine.max_model_len or engine.max_num_batched_tokens)
    return max(own, engine.max_num_seqs, whole_prompt)


def _identity(model: spec.Model, target: Target) -> Iterator[str]:
    yield from ("--model", target.model_path)
    yield from ("--served-model-name", model.served_name, *model.spec.aliases)
    yield from ("--host", target.host, "--port", str(target.port))
    yield from ("--shutdown-timeout", str(max(1, round(float(model.spec.engine.drain_timeout)))))
    yield from ("--disable-uvicorn-access-log", "--disable-fastapi-docs", "--enable-prompt-tokens-details")
    if not _GENERATES & set(model.spec.capabilities):
        yield from ("--runner", "pooling")
        if "embedding" in model.spec.capabilities:
            yield from ("--convert", "embed")


def _memory(engine: spec.EngineSettings, target: Target) -> Iterator[str]:
    if engine.max_model_len is not None:
        yield from ("--max-model-len", str(engine.max_model_len))
    block_size = cpu_block_size(engine) if target.variant == "cpu" else engine.block_size
    if block_size is not None:
        yield from ("--block-size", str(block_size))
    if target.variant == "cuda" and engine.gpu_memory_utilization is not None:
        yield from ("--gpu-memory-utilization", f"{engine.gpu_memory_utilization:g}")
    kv_bytes = engine.kv_cache_memory
    if target.variant == "cpu":
        kv_bytes = kv_bytes or spec.Bytes(DEFAULT_CPU_KV_BYTES)
    if kv_bytes is not None:
        yield from ("--kv-cache-memory-bytes", str(int(kv_bytes)))
    if engine.kv_cache_blocks is not None:
        yield from ("--num-gpu-blocks-override", str(engine.kv_cache_blocks))
    if engine.kv_cache_dtype != "auto":
        yield from ("--kv-cache-dtype", engine.kv_cache_dtype)
    if target.variant == "cuda" and engine.kv_offload is not None:
        yield from ("--kv-offloading-size", _gib(engine.kv_offload))
    if target.variant == "cuda" and engine.cpu_offload is not None:
        yield from ("--cpu-offload-gb", _gib(engine.cpu_offload))


def _batching(model: spec.Model, target: Target) -> Iterator[str]:
    engine = model.spec.engine
    tokens = cpu_batched_tokens(engine) if target.variant == "cpu" else engine.max_num_batched_tokens
    yield from ("--max-num-seqs", str(engine.max_num_seqs), "--max-num-batched-tokens", str(tokens))
    if not engine.chunked_prefill:
        yield "--no-enable-chunked-prefill"
    if not engine.prefix_caching:
        yield "--no-enable-prefix-caching"
    elif _CONTINUES & set(model.spec.capabilities):
        yield "--enable-prefix-caching"
    if engine.scheduling_policy != "fcfs":
        yield from ("--scheduling-policy", engine.scheduling_policy)


def _execution(engine: spec.EngineSettings, target: Target) -> Iterator[str]:
    yield from ("--dtype", engine.dtype)
    if _is_eager(engine, target):
        yield "--enforce-eager"
    if engine.quantization is not None:
        yield from ("--quantization", engine.quantization)
    if engine.trust_remote_code:
        yield "--trust-remote-code"


def _is_eager(engine: spec.EngineSettings, target: Target) -> bool:
    """Eager unless told: on a CPU compiling costs 20 s of every first start and gains little.

    Not with pipeline stages on a CPU: vLLM skips its warm-up when eager, and the second stage then fails at the first
    request.
    """
    if engine.cuda_graphs is not None:
        return not engine.cuda_graphs
    return target.variant == "cpu" and engine.parallel.pipeline == 1


def _parallelism(parallel: spec.Parallel, target: Target) -> Iterator[str]:
    for flag, ranks in (
        ("--tensor-parallel-size", parallel.tensor),
        ("--pipeline-parallel-size", parallel.pipeline),
        ("--data-parallel-size", parallel.data),
    ):
        if ranks > 1:
            yield from (flag, str(ranks))
    if parallel.expert:
        yield "--enable-expert-parallel"
    if parallel.nodes > 1:
        yield from ("--nnodes", str(parallel.nodes), "--node-rank", str(target.node_rank))
        yield from ("--master-addr", target.master_address)
        if target.node_rank > 0:
            yield "--headless"


def _features(engine: spec.EngineSettings, target: Target) -> Iterator[str]:
    if engine.speculative is not None:
        yield from ("--speculative-config", _json(_speculative(engine.speculative, target)))
    if engine.reasoning_parser is not None:
        yield from ("--reasoning-parser", engine.reasoning_parser)
    if engine.tool_parser is not None:
        yield from ("--enable-auto-tool-choice", "--tool-call-parser", engine.tool_parser)
    if engine.chat_template is not None:
        yield from ("--chat-template", engine.chat_template)
    if engine.multimodal is not None and engine.multimodal.limits:
        yield from ("--limit-mm-per-prompt", _json(dict(engine.multimodal.limits)))


def _speculative(settings: spec.Speculative, target: Target) -> dict[str, object]:
    values = {
        "method": settings.method,
        "num_speculative_tokens": settings.num_tokens,
        "model": target.draft_path or settings.model,
        "draft_tensor_parallel_size": settings.tensor,
        "prompt_lookup_min": settings.prompt_lookup_min,
        "prompt_lookup_max": settings.prompt_lookup_max,
    }
    return {name: value for name, value in values.items() if value is not None}


def _adapters(engine: spec.EngineSettings, target: Target) -> Iterator[str]:
    if not engine.adapters:
        return
    yield from ("--enable-lora", "--max-loras", str(count_adapter_slots(engine, target)))
    yield from ("--max-lora-rank", str(engine.max_adapter_rank or 16))
    yield "--lora-modules"
    for adapter in engine.adapters:
        yield f"{adapter.name}={target.adapter_paths[adapter.name]}"


def count_adapter_slots(engine: spec.EngineSettings, target: Target) -> int:
    """Adapters that vLLM holds ready for one step; on a CPU one more than there are, so that the last slot stays empty.

    vLLM's LoRA kernels for CPUs (vllm/lora/ops/torch_ops) take the slot -1 of a request without an adapter for the last
    slot: whatever adapter is there changes the answers of the base model in every step that the two share.
    """
    if target.variant == "cpu":
        return len(engine.adapters) + 1
    return engine.max_adapters or len(engine.adapters)


def _extra(engine: spec.EngineSettings) -> Iterator[str]:
    known = flags_of(engine.version)
    for name, value in engine.extra_args.items():
        yield from render_flag(name, known[name], value)


def _cpu_environment(engine: spec.EngineSettings, target: Target) -> dict[str, str]:
    """One rank runs inside the core's process ("uni": half the memory, no busy polling between two processes)."""
    env = {"VLLM_TARGET_DEVICE": "cpu", "OMP_NUM_THREADS": str(target.threads)}
    if _is_eager(engine, target):
        # Eager does not cover what the sampler compiles by itself at the first request with logprobs: it would stand
        # still for 15 to 40 s (and look hung), and needs a C++ compiler, which a user's machine may not have.
        env["TORCHDYNAMO_DISABLE"] = "1"
    ranks = engine.parallel.gpus
    if ranks == 1:
        return env | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    return env | {"VLLM_CPU_OMP_THREADS_BIND": _bind(target.cores, ranks)}


def _bind(cores: tuple[int, ...], ranks: int) -> str:
    """Equal shares of the cores, one per rank; without enough cores the ranks float."""
    share = len(cores) // ranks
    if share == 0:
        return "nobind"
    return "|".join(",".join(map(str, cores[rank * share : (rank + 1) * share])) for rank in range(ranks))


def _gib(amount: int) -> str:
    return f"{amount / _GIB:g}"


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
