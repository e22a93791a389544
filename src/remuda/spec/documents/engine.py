"""The `engine:` part of a Model: how vLLM runs it.

Does: name, bound and explain each setting.
Does not know: vLLM's flags (package `vllm` renders them) or whether a GPU can do it (`planner` checks).
Called by: `model`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from remuda.spec.documents.quantity import AtLeast, AtMost, Bytes, Duration
from remuda.spec.documents.shape import (
    EnvName,
    Flag,
    Number,
    Rule,
    SecretRef,
    ServedName,
    Shape,
    SourceText,
    Text,
    Unique,
    Unit,
    Whole,
    exactly_one,
)

DEFAULT_ENGINE_VERSION = "0.32.0"

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
KvCacheDtype = Literal["auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"]
Quantization = Literal[
    "awq", "gptq", "fp8", "fp8_per_tensor", "fp8_per_block", "compressed-tensors", "modelopt", "modelopt_fp4", "mxfp4",
    "mxfp8", "experts_int8", "moe_wna16", "quark", "torchao", "inc",
]  # fmt: skip
SpeculativeMethod = Literal["ngram", "draft_model", "eagle", "eagle3", "medusa", "mlp_speculator", "mtp", "suffix"]
StartTimeout = Annotated[Duration, AtLeast("1s"), AtMost("24h")]
ParserName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=63)]


Modality = Literal["image", "video", "audio"]
FLAG_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"

FlagName = Annotated[str, Field(pattern=FLAG_PATTERN, max_length=63)]
IMAGE_PATTERN = (
    r"^[a-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9._-]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$"
)


class Speculative(Shape):
    """Speculative decoding: a cheap guesser proposes tokens, the model checks them in one step."""

    method: SpeculativeMethod
    """How tokens are guessed: `ngram` looks them up in the prompt and needs nothing else; `draft_model`, `eagle`,
    `eagle3`, `medusa` and `mlp_speculator` need `model`; `mtp` uses heads that came with the model."""
    num_tokens: Annotated[Whole, Field(ge=1, le=32), Unit("tokens")] = 3
    """Tokens guessed per step; more pays only while most guesses are right."""
    model: SourceText | None = None
    """Source of the guessing model, as in `spec.source`."""
    tensor: Annotated[Whole, Field(ge=1, le=64), Unit("GPUs")] | None = None
    """GPUs the guessing model is split over; by default as many as the model, or 1."""
    prompt_lookup_min: Annotated[Whole, Field(ge=1, le=64), Unit("tokens")] | None = None
    """Shortest run of tokens looked up (ngram only)."""
    prompt_lookup_max: Annotated[Whole, Field(ge=1, le=64), Unit("tokens")] | None = None
    """Longest run of tokens looked up (ngram only)."""


class Parallel(Shape):
    """How one engine is split over several GPUs."""

    tensor: Annotated[Whole, Field(ge=1, le=64), Unit("GPUs")] = 1
    """GPUs each layer is split over; must divide the attention heads, and wants a fast link (NVLink) between the
    GPUs."""
    pipeline: Annotated[Whole, Field(ge=1, le=64), Unit("stages")] = 1
    """Stages the layers are split into; for models too big for one node, or GPUs without a fast link."""
    data: Annotated[Whole, Field(ge=1, le=64), Unit("copies")] = 1
    """Copies of the model inside one engine that share its queue; for mixture-of-experts models. Otherwise use
    `replicas`."""
    expert: Flag = False
    """Spread the experts of a mixture-of-experts model over the GPUs instead of splitting each one."""
    nodes: Annotated[Whole, Field(ge=1, le=64), Unit("machines")] = 1
    """Machines one engine spans."""
    layer_partition: Annotated[
        tuple[Annotated[Whole, Field(ge=1, le=1024)], ...], Field(max_length=64), Unit("layers")
    ] = ()
    """Layers per pipeline stage, one number a stage; by default evenly."""

    @property
    def gpus(self) -> int:
        """GPUs one engine takes (or CPU ranks)."""
        return self.tensor * self.pipeline * self.data


class Multimodal(Shape):
    """Limits for models that take more than text."""

    limits: Annotated[dict[Modality, Annotated[Whole, Field(ge=0, le=999)]], Field(max_length=3)] = Field(
        default_factory=dict
    )
    """Most items of each kind in one request; 0 switches the kind off and saves its memory."""


class Adapter(Shape):
    """A LoRA adapter, served under a name of its own beside its model."""

    name: ServedName
    """The name clients ask for in `model`."""
    source: SourceText
    """Where the adapter's weights come from, as in `spec.source`."""
    aliases: Annotated[tuple[ServedName, ...], Field(max_length=16), Unique()] = ()
    """Further names clients may use for it."""


class EnvVar(Shape):
    """An environment variable of the engine's process."""

    rules: ClassVar = (
        exactly_one(
            "value", "value_from", message="give exactly one of value and valueFrom", hint="valueFrom is for secrets"
        ),
    )

    name: EnvName
    """The variable's name."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """Its value. Not for secrets."""
    value_from: SecretRef | None = None
    """Where its secret value is kept."""


class EngineSettings(Shape):
    """How vLLM runs the model. Every field may be left out."""

    rules: ClassVar = (
        Rule(
            "!(has(self.kvCacheMemory) && has(self.kvCacheBlocks))",
            lambda engine: not (engine.has("kv_cache_memory") and engine.has("kv_cache_blocks")),
            "kvCacheMemory and kvCacheBlocks both set the size of the KV cache",
            hint="keep one of them",
            at="kvCacheBlocks",
        ),
    )

    version: Annotated[str, Field(pattern=r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$", max_length=16)] = (
        DEFAULT_ENGINE_VERSION
    )
    """Version of vLLM. Remuda knows each version's dialect; the default is the one it was tested with most."""
    image: Annotated[str, Field(pattern=IMAGE_PATTERN, max_length=512)] | None = None
    """Container image of the engine in a cluster; by default the one Remuda pins for `version`."""
    dtype: Dtype = "auto"
    """Number format of weights and activations. `auto` takes the model's own; `bfloat16` needs a GPU of compute
    capability 8.0 or a CPU."""
    max_model_len: Annotated[Whole, Field(ge=1, le=16_777_216), Unit("tokens")] | None = None
    """Longest prompt and answer together, in tokens; by default the model's own maximum. Shorter leaves more room for
    other requests."""
    block_size: Annotated[Whole, Field(ge=1, le=2048), Unit("tokens")] | None = None
    """Tokens per block of the KV cache; by default 16 on a GPU and 128 on a CPU (where it must be a multiple of 32).
    16 to 32 suits short prompts, up to 128 long ones; what a sequence does not fill of its last block is wasted."""
    gpu_memory_utilization: Annotated[Number, Field(gt=0, le=1), Unit("share")] | None = None
    """Share of the GPU's memory the engine may take, weights included; by default vLLM's 0.92."""
    kv_cache_memory: Annotated[Bytes, AtLeast("1Mi"), AtMost("16Ti")] | None = None
    """Memory of the KV cache on each rank. Set it on a CPU; on a GPU, `gpuMemoryUtilization` usually decides."""
    kv_cache_blocks: Annotated[Whole, Field(ge=2, le=16_777_216), Unit("blocks")] | None = None
    """Number of blocks of the KV cache instead of its memory; for tests and for reproducing another machine's
    limits."""
    kv_cache_dtype: KvCacheDtype = "auto"
    """Number format of the KV cache; `fp8` doubles the tokens that fit and can cost some accuracy."""
    max_num_seqs: Annotated[Whole, Field(ge=1, le=65_536), Unit("sequences")] = 256
    """Most sequences in one step. More raises throughput until the KV cache is full; then requests are preempted."""
    max_num_batched_tokens: Annotated[Whole, Field(ge=1, le=16_777_216), Unit("tokens")] = 32_768
    """Most tokens in one step. More makes long prompts start sooner and running answers stutter more."""
    chunked_prefill: Flag = True
    """Mix pieces of long prompts with running answers in one step, so that a long prompt does not stall them."""
    prefix_caching: Flag = True
    """Reuse the KV cache of prompts that begin alike (system prompts, conversations)."""
    scheduling_policy: Literal["fcfs", "priority"] = "fcfs"
    """Order of waiting requests inside the engine: first come, first served, or by the request's priority."""
    kv_offload: Annotated[Bytes, AtLeast("1Gi"), AtMost("16Ti")] | None = None
    """Main memory that takes blocks the GPU's KV cache evicts, so that a returning conversation is not computed
    again. GPU only."""
    cuda_graphs: Flag | None = None
    """Capture the model's steps as CUDA graphs (on a CPU: compile them). Faster answers, slower start; by default on
    with a GPU, off without."""
    trust_remote_code: Flag = False
    """Run Python code that comes with the weights. Whoever can change the weights then runs code in the engine."""
    quantization: Quantization | None = None
    """Format of quantised weights; by default what the model's config.json says. `fp8` also quantises full weights
    while loading."""
    speculative: Speculative | None = None
    """Speculative decoding."""
    parallel: Parallel = Parallel.model_construct()
    """Splitting over GPUs."""
    cpu_offload: Annotated[Bytes, AtLeast("1Mi"), AtMost("16Ti")] | None = None
    """Main memory per GPU that holds weights which do not fit; they cross PCIe at every step, so this is slow."""
    reasoning_parser: ParserName | None = None
    """vLLM's parser that separates the model's reasoning from its answer, for example `qwen3` or `deepseek_r1`."""
    tool_parser: ParserName | None = None
    """vLLM's parser of tool calls, for example `hermes` or `llama3_json`; without it, tools are refused."""
    chat_template: Text | None = None
    """Path of a Jinja chat template, instead of the model's own."""
    multimodal: Multimodal | None = None
    """Limits for images, video and audio."""
    adapters: Annotated[tuple[Adapter, ...], Field(max_length=256), Unique("name")] = ()
    """LoRA adapters served beside the model."""
    max_adapters: Annotated[Whole, Field(ge=1, le=256), Unit("adapters")] | None = None
    """Adapters that can run in one step; by default as many as there are in `adapters`. Each takes GPU memory."""
    max_adapter_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] | None = None
    """Highest rank among the adapters; by default 16."""
    extra_args: Annotated[dict[FlagName, Any], Field(max_length=64)] = Field(default_factory=dict)
    """Further flags of vLLM, without their dashes: `stream-interval: 4`. `true` gives the bare flag, `false` its
    `--no-` form, a mapping is passed as JSON. Flags that have a field here, and those Remuda itself needs (`host`,
    `port` …), are refused."""
    env: Annotated[tuple[EnvVar, ...], Field(max_length=128), Unique("name")] = ()
    """Environment variables of the engine's process."""
    startup_timeout: StartTimeout = Duration("10m")
    """Longest time from start to the first answer, downloads not included. Big models need more."""
    drain_timeout: Annotated[Duration, AtMost("24h")] = Duration("30s")
    """How long running requests may finish when an engine is stopped."""
