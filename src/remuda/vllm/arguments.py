"""Renders a Model as vLLM's command line and environment.

    render_arguments     the flags after the program's name
    render_environment   the variables that vLLM needs beside those of the process, without secrets
    render_notes         decisions that differ from the file, in words

The functions are pure: the same model and target give the same text. They do not know processes, free ports, downloads
or Kubernetes. `Target` carries what these find out.
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
"""Size of the KV cache on a CPU where the file states none. vLLM would use 92 % of the first NUMA node's memory."""

_CONTINUES = frozenset({"chat", "completion", "code"})
"""Capabilities of models whose prefixes vLLM can cache. With `--enable-prefix-caching`, an encoder-decoder such as
Whisper dies at its first request (NotImplementedError: CrossAttentionManager does not support caching); without the
flag, vLLM decides by the model."""
_GENERATES = _CONTINUES | {"transcription"}
_GIB = 1024**3


class ArgumentsError(RemudaError):
    """The model file asks for arguments that Remuda refuses."""


@dataclass(frozen=True, slots=True)
class Target:
    """Facts about one engine that the file does not state."""

    variant: Literal["cpu", "cuda"]
    model_path: str
    """Local folder of the weights, or the path where a manifest mounts them."""
    port: int
    host: str = LOOPBACK
    threads: int = 1
    """OpenMP threads of each rank on a CPU."""
    cores: tuple[int, ...] = ()
    """Cores that this engine alone has on a CPU, in equal shares for its ranks. Without cores, ranks are not bound."""
    adapter_paths: Mapping[str, str] = field(default_factory=dict)
    """Local folders of adapters by name."""
    draft_path: str | None = None
    """Local folder of the draft model."""
    node_rank: int = 0
    master_address: str = LOOPBACK
    """Address of rank 0 of an engine over several nodes; `node_rank` is the number of this node."""
    cache_path: str | None = None
    """Writable folder for the caches of compilers."""


def render_arguments(model: spec.Model, target: Target) -> tuple[str, ...]:
    """The flags of vLLM's server, in a stable order."""
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
    """Variables of the engine's process. Values from the file's `env` override Remuda's defaults."""
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
    """Decisions that add to the file or differ from it."""
    return tuple(_notes(model.spec.engine, target))


def _notes(engine: spec.EngineSettings, target: Target) -> Iterator[str]:
    if target.variant != "cpu":
        return
    mapped = cpu_block_size(engine)
    if engine.block_size is not None and mapped != engine.block_size:
        yield f"blockSize {engine.block_size} becomes {mapped} on a CPU, where it must be a multiple of 32"
    if engine.kv_cache_memory is None:
        yield "kvCacheMemory is not set, so the KV cache takes 1 GiB"
    if not engine.has("max_num_batched_tokens"):
        tokens = cpu_batched_tokens(engine)
        yield f"maxNumBatchedTokens is {tokens} on a CPU, because a larger step would make running answers pause"
    if engine.gpu_memory_utilization is not None:
        yield "gpuMemoryUtilization has no effect on a CPU"
    if engine.kv_offload is not None:
        yield "kvOffload needs a GPU and has no effect"
    if engine.adapters and engine.max_adapters is not None:
        yield "maxAdapters has no effect on a CPU, where every adapter is held ready"
    if engine.cpu_offload is not None:
        yield "cpuOffload has no effect on a CPU"


def cpu_block_size(engine: spec.EngineSettings) -> int | None:
    """The file's block size, rounded up to a multiple that a CPU supports. None means vLLM's default of 128."""
    if engine.block_size is None:
        return None
    multiple = pick_dialect(engine.version).cpu_block_multiple
    return -(-engine.block_size // multiple) * multiple


def cpu_batched_tokens(engine: spec.EngineSettings) -> int:
    """Tokens per step on a CPU: the file's number, or vLLM's default for CPUs if that is enough for one step."""
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
    """Whether vLLM runs without compilation. This is the default on a CPU: compiling takes 20 s and gains little.

    Pipeline stages on a CPU are an exception. Without compilation, vLLM skips its warm-up, and the second stage fails
    at the first request.
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
    """Variables for a CPU. A single rank runs inside the core's process, which halves the memory and avoids polling."""
    env = {"VLLM_TARGET_DEVICE": "cpu", "OMP_NUM_THREADS": str(target.threads)}
    if _is_eager(engine, target):
        # Eager mode does not prevent the sampler from compiling at the first request with logprobs. That takes 15 to
        # 40 s, in which the engine looks hung, and needs a C++ compiler, which a user's machine may not have.
        env["TORCHDYNAMO_DISABLE"] = "1"
    ranks = engine.parallel.gpus
    if ranks == 1:
        return env | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    return env | {"VLLM_CPU_OMP_THREADS_BIND": _bind(target.cores, ranks)}


def _bind(cores: tuple[int, ...], ranks: int) -> str:
    """Equal shares of the cores for the ranks. With fewer cores than ranks, ranks are not bound."""
    share = len(cores) // ranks
    if share == 0:
        return "nobind"
    return "|".join(",".join(map(str, cores[rank * share : (rank + 1) * share])) for rank in range(ranks))


def _gib(amount: int) -> str:
    return f"{amount / _GIB:g}"


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
