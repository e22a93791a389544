"""The field `spec.engine` of a Model: how vLLM runs the model.

This module names, bounds and documents each setting. It does not know vLLM's flags, or what a GPU can do.
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
    """Speculative decoding: a cheap method proposes tokens, and the model verifies them in one step."""

    method: SpeculativeMethod
    """How tokens are proposed. `ngram` looks them up in the prompt and needs nothing else; `draft_model`, `eagle`,
    `eagle3`, `medusa` and `mlp_speculator` need `model`; `mtp` uses heads that are part of the model."""
    num_tokens: Annotated[Whole, Field(ge=1, le=32), Unit("tokens")] = 3
    """Tokens proposed per step. A larger number helps only while most proposals are accepted."""
    model: SourceText | None = None
    """Source of the draft model, as in `spec.source`."""
    tensor: Annotated[Whole, Field(ge=1, le=64), Unit("GPUs")] | None = None
    """GPUs that the draft model is split over; by default as many as the model, or 1."""
    prompt_lookup_min: Annotated[Whole, Field(ge=1, le=64), Unit("tokens")] | None = None
    """Fewest tokens that are looked up (`ngram` only)."""
    prompt_lookup_max: Annotated[Whole, Field(ge=1, le=64), Unit("tokens")] | None = None
    """Most tokens that are looked up (`ngram` only)."""


class Parallel(Shape):
    """How one engine is split over several GPUs."""

    tensor: Annotated[Whole, Field(ge=1, le=64), Unit("GPUs")] = 1
    """GPUs that each layer is split over. It must divide the number of attention heads, and it needs a fast link
    (NVLink) between the GPUs."""
    pipeline: Annotated[Whole, Field(ge=1, le=64), Unit("stages")] = 1
    """Stages that the layers are divided into, for models that do not fit one node or GPUs without a fast link."""
    data: Annotated[Whole, Field(ge=1, le=64), Unit("copies")] = 1
    """Copies of the model inside one engine that share its queue, for mixture-of-experts models. For other models use
    `replicas`."""
    expert: Flag = False
    """Distribute the experts of a mixture-of-experts model over the GPUs instead of splitting each expert."""
    nodes: Annotated[Whole, Field(ge=1, le=64), Unit("machines")] = 1
    """Machines that one engine runs on."""
    layer_partition: Annotated[
        tuple[Annotated[Whole, Field(ge=1, le=1024)], ...], Field(max_length=64), Unit("layers")
    ] = ()
    """Number of layers of each pipeline stage; by default they are divided evenly."""

    @property
    def gpus(self) -> int:
        """The number of GPUs of one engine, or of its ranks on a CPU."""
        return self.tensor * self.pipeline * self.data


class Multimodal(Shape):
    """Limits for models that accept more than text."""

    limits: Annotated[dict[Modality, Annotated[Whole, Field(ge=0, le=999)]], Field(max_length=3)] = Field(
        default_factory=dict
    )
    """Most items of each kind in one request. 0 disables the kind and saves its memory."""


class Adapter(Shape):
    """A LoRA adapter that is served under a name of its own, beside its model."""

    name: ServedName
    """The name that clients write in `model`."""
    source: SourceText
    """Source of the adapter's weights, as in `spec.source`."""
    aliases: Annotated[tuple[ServedName, ...], Field(max_length=16), Unique()] = ()
    """Further names that clients may write for it."""


class EnvVar(Shape):
    """An environment variable of the engine's process."""

    rules: ClassVar = (
        exactly_one(
            "value", "value_from", message="write exactly one of value and valueFrom", hint="valueFrom is for secrets"
        ),
    )

    name: EnvName
    """The variable's name."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """The value. Secrets do not belong here."""
    value_from: SecretRef | None = None
    """Reference to a secret value."""


class EngineSettings(Shape):
    """How vLLM runs the model. Every field is optional."""

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
    """Version of vLLM. The default is the version that Remuda is tested with most."""
    image: Annotated[str, Field(pattern=IMAGE_PATTERN, max_length=512)] | None = None
    """Container image of the engine in a cluster; by default the image that Remuda pins for `version`
    (Kubernetes only)."""
    dtype: Dtype = "auto"
    """Number format of weights and activations. `auto` uses the model's own format. `bfloat16` needs a GPU of compute
    capability 8.0, or a CPU."""
    max_model_len: Annotated[Whole, Field(ge=1, le=16_777_216), Unit("tokens")] | None = None
    """Most tokens of a prompt and its answer together; by default the model's own maximum. A smaller value leaves more
    memory for other requests."""
    block_size: Annotated[Whole, Field(ge=1, le=2048), Unit("tokens")] | None = None
    """Tokens per block of the KV cache; by default 16 on a GPU, and 128 on a CPU, where it must be a multiple of 32.
    16 to 32 suits short prompts, and up to 128 suits long ones. A sequence wastes the unfilled part of its last
    block."""
    gpu_memory_utilization: Annotated[Number, Field(gt=0, le=1), Unit("share")] | None = None
    """Share of the GPU's memory that the engine may use, weights included; by default vLLM's 0.92."""
    kv_cache_memory: Annotated[Bytes, AtLeast("1Mi"), AtMost("16Ti")] | None = None
    """Memory of the KV cache on each rank. Set it on a CPU. On a GPU, `gpuMemoryUtilization` is usually enough."""
    kv_cache_blocks: Annotated[Whole, Field(ge=2, le=16_777_216), Unit("blocks")] | None = None
    """Number of blocks of the KV cache, instead of its memory. It is meant for tests and for reproducing the limits of
    another machine."""
    kv_cache_dtype: KvCacheDtype = "auto"
    """Number format of the KV cache. `fp8` doubles the number of tokens that fit and can reduce accuracy."""
    max_num_seqs: Annotated[Whole, Field(ge=1, le=65_536), Unit("sequences")] = 256
    """Most sequences in one step. A larger number raises throughput until the KV cache is full. Then vLLM preempts
    requests."""
    max_num_batched_tokens: Annotated[Whole, Field(ge=1, le=16_777_216), Unit("tokens")] = 32_768
    """Most tokens in one step. With a larger number, long prompts start sooner, and running answers pause longer."""
    chunked_prefill: Flag = True
    """Process long prompts in pieces beside running answers, so that a long prompt does not stall them."""
    prefix_caching: Flag = True
    """Reuse the KV cache of prompts that begin with the same text, such as system prompts and conversations."""
    scheduling_policy: Literal["fcfs", "priority"] = "fcfs"
    """Order of waiting requests inside the engine: `fcfs` is first come, first served; `priority` follows the priority
    of each request."""
    kv_offload: Annotated[Bytes, AtLeast("1Gi"), AtMost("16Ti")] | None = None
    """Main memory that keeps blocks which the GPU's KV cache evicts, so that a conversation that continues later is not
    computed again. It needs a GPU."""
    cuda_graphs: Flag | None = None
    """Capture the model's steps as CUDA graphs, or compile them on a CPU. Answers become faster and the start becomes
    slower. By default it is on with a GPU and off without."""
    trust_remote_code: Flag = False
    """Run Python code that comes with the weights. Anyone who can change the weights can then run code in the
    engine."""
    quantization: Quantization | None = None
    """Format of quantised weights; by default the format that config.json of the model states. `fp8` also quantises
    full weights while they are loaded."""
    speculative: Speculative | None = None
    """Speculative decoding; by default off."""
    parallel: Parallel = Parallel.model_construct()
    """How one engine is split over several GPUs."""
    cpu_offload: Annotated[Bytes, AtLeast("1Mi"), AtMost("16Ti")] | None = None
    """Main memory per GPU for weights that do not fit the GPU. This is slow, because these weights cross PCIe at every
    step."""
    reasoning_parser: ParserName | None = None
    """Name of vLLM's parser that separates reasoning from the answer, for example `qwen3` or `deepseek_r1`."""
    tool_parser: ParserName | None = None
    """Name of vLLM's parser for tool calls, for example `hermes` or `llama3_json`. Without it, tools are refused."""
    chat_template: Text | None = None
    """Path of a Jinja chat template to use instead of the model's own."""
    multimodal: Multimodal | None = None
    """Limits for images, video and audio."""
    adapters: Annotated[tuple[Adapter, ...], Field(max_length=256), Unique("name")] = ()
    """LoRA adapters that are served beside the model."""
    max_adapters: Annotated[Whole, Field(ge=1, le=256), Unit("adapters")] | None = None
    """Most adapters in one step; by default as many as `adapters` has. Each of them takes memory."""
    max_adapter_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] | None = None
    """Highest rank among the adapters; by default 16."""
    extra_args: Annotated[dict[FlagName, Any], Field(max_length=64)] = Field(default_factory=dict)
    """Further flags of vLLM, without their dashes: `stream-interval: 4`. `true` becomes the bare flag, `false` becomes
    its `--no-` form, and a mapping becomes JSON. Flags that have a field of their own are refused, and so are flags
    that Remuda sets itself (`host`, `port` …)."""
    env: Annotated[tuple[EnvVar, ...], Field(max_length=128), Unique("name")] = ()
    """Environment variables of the engine's process."""
    startup_timeout: StartTimeout = Duration("10m")
    """Longest time from the start of the engine to its first answer, without downloads. Large models need more."""
    drain_timeout: Annotated[Duration, AtMost("24h")] = Duration("30s")
    """Time in which running requests may finish when an engine is stopped."""
