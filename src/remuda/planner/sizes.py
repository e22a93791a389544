"""Checks of sizes: blocks and memory of the KV cache, sequences and tokens per step, and context length.

Advice on block sizes: 16 to 128 tokens suit long prompts (ShareGPT-like), 16 to 32 short ones (Alpaca-like). A sequence
fills half of its last block on average, and a block larger than the sequence is mostly wasted. On a CPU, vLLM accepts
only multiples of 32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from remuda.planner.facts import Config, ModelFacts, error, warning
from remuda.spec import Problem
from remuda.vllm import arguments

GPU_MULTIPLE = 16
"""vLLM's attention kernels for GPUs accept only block sizes that are multiples of 16 tokens."""

_ALLOWS_LONGER = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"


def explain_waste(block_tokens: int, sequence_tokens: int) -> str:
    """State in one sentence how much of its blocks a sequence of this length leaves unused."""
    blocks = -(-sequence_tokens // block_tokens)
    unused = blocks * block_tokens - sequence_tokens
    share = unused / (blocks * block_tokens)
    text = f"a sequence of {sequence_tokens} tokens takes {blocks} block{'s' if blocks > 1 else ''} of {block_tokens}"
    return f"{text}; {unused} of {blocks * block_tokens} tokens ({share:.0%}) stay unused"


def check_blocks(facts: ModelFacts) -> Iterator[Problem]:
    """Compare the block size with the device and with the context length."""
    engine = facts.engine
    size = engine.block_size
    if size is None:
        return
    if facts.variant == "cpu" and (mapped := arguments.cpu_block_size(engine)) != size:
        message = f"blockSize {size} becomes {mapped} on a CPU, where vLLM takes multiples of 32"
        yield warning("engine.blockSize", message, f"write {mapped} to avoid this warning, or leave it out for 128")
    if facts.variant == "cuda" and size % GPU_MULTIPLE:
        near = -(-size // GPU_MULTIPLE) * GPU_MULTIPLE
        yield error("engine.blockSize", f"blockSize {size} is not a multiple of 16", f"write {near}; 16 is the default")
    length = engine.max_model_len
    if length is not None and size > length:
        message = f"blockSize {size} is larger than maxModelLen {length}: {explain_waste(size, length)}"
        yield warning("engine.blockSize", message, "16 or 32 wastes less")
    elif size > 128:
        waste = f"half a block ({size // 2} tokens) of each sequence stays unused on average"
        yield warning(
            "engine.blockSize", f"blockSize {size} is large: {waste}", "16 to 32 for short prompts, up to 128 for long"
        )


def check_memory(facts: ModelFacts) -> Iterator[Problem]:
    """Compare the size of the KV cache and the memory settings with each other and with the device."""
    engine, hardware = facts.engine, facts.model.spec.hardware
    if facts.variant == "cpu":
        yield from _check_gpu_only(facts)
        if engine.kv_cache_memory and hardware.memory and engine.kv_cache_memory >= hardware.memory:
            message = f"kvCacheMemory {engine.kv_cache_memory.text} leaves nothing of memory {hardware.memory.text}"
            yield error("engine.kvCacheMemory", message, "weights and the engine itself need memory too")
    if engine.kv_cache_blocks and engine.max_model_len:
        yield from _check_capacity(facts, engine.kv_cache_blocks, engine.max_model_len)
    if hardware.shm and hardware.memory and hardware.shm > hardware.memory:
        message = f"shm {hardware.shm.text} is larger than memory {hardware.memory.text}"
        yield error("hardware.shm", message, "shared memory is part of the memory")


def _check_gpu_only(facts: ModelFacts) -> Iterator[Problem]:
    report = error if facts.cpu_is_chosen else warning
    for attribute, field in (("kv_offload", "kvOffload"), ("cpu_offload", "cpuOffload")):
        if facts.engine.has(attribute):
            yield report(f"engine.{field}", f"{field} needs a GPU and is not used on a CPU", f"remove {field}")
    if facts.engine.gpu_memory_utilization is not None:
        message = "gpuMemoryUtilization has no effect on a CPU"
        yield warning("engine.gpuMemoryUtilization", message, "set kvCacheMemory instead")


def _check_capacity(facts: ModelFacts, blocks: int, length: int) -> Iterator[Problem]:
    engine = facts.engine
    size = (arguments.cpu_block_size(engine) or 128) if facts.variant == "cpu" else (engine.block_size or 16)
    if blocks * size < length:
        message = (
            f"{blocks} blocks of {size} tokens hold {blocks * size}, less than one request of maxModelLen {length}"
        )
        yield error("engine.kvCacheBlocks", message, f"at least {-(-length // size)} blocks, or a shorter maxModelLen")


def check_steps(facts: ModelFacts) -> Iterator[Problem]:
    """Compare the numbers of sequences and tokens per step."""
    engine = facts.engine
    if engine.has("max_num_batched_tokens") and engine.max_num_batched_tokens < engine.max_num_seqs:
        message = f"maxNumBatchedTokens {engine.max_num_batched_tokens} is less than maxNumSeqs {engine.max_num_seqs}"
        yield error("engine.maxNumBatchedTokens", message, "each running sequence takes one token of a step")
    if not engine.chunked_prefill:
        length = engine.max_model_len
        if length is not None and engine.max_num_batched_tokens < length:
            message = f"maxNumBatchedTokens {engine.max_num_batched_tokens} is less than maxModelLen {length}, and "
            message += "without chunkedPrefill a prompt must fit one step"
            yield error("engine.maxNumBatchedTokens", message, f"at least {length}, or leave chunkedPrefill on")
        else:
            message = (
                "vLLM does not officially support switching chunkedPrefill off; long prompts stall running answers"
            )
            yield warning("engine.chunkedPrefill", message, "leave it on unless you measure a gain")


def check_length(facts: ModelFacts) -> Iterator[Problem]:
    """Compare the context length with the model's maximum.

    vLLM refuses a longer context unless VLLM_ALLOW_LONG_MAX_MODEL_LEN allows it.
    """
    if any(variable.name == _ALLOWS_LONGER and _is_on(variable.value) for variable in facts.engine.env):
        return
    asked = facts.engine.max_model_len
    longest = facts.number("max_position_embeddings", "n_positions", "max_seq_len")
    if longest and asked and asked > longest and not any(map(_is_stretched, facts.parts())):
        message = f"maxModelLen {asked} is more than the {longest} tokens that the model supports"
        hint = f"at most {longest}; for more, scale the positions (extraArgs.hf-overrides, where the model allows it)"
        yield error("engine.maxModelLen", message, hint)


def _is_on(value: str | None) -> bool:
    """Whether vLLM reads this value of its variable as true."""
    return value is not None and value.strip().lower() in {"1", "true"}


def _is_stretched(config: Config) -> bool:
    """Whether rotary positions are scaled, so that the model supports more than its number of positions.

    Newer files have `rope_parameters` even where nothing is scaled (`rope_type: default`). Some files have one such
    mapping for each kind of attention layer.
    """
    parts = [part for part in (config.get("rope_scaling"), config.get("rope_parameters")) if isinstance(part, Mapping)]
    parts += [below for part in parts for below in part.values() if isinstance(below, Mapping)]
    return any(part.get("rope_type", part.get("type", "default")) != "default" for part in parts)
