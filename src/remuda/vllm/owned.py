"""Flags and environment variables that a model file may not set freely, and what to use instead."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from remuda import spec
from remuda.vllm.flags import Flag, explain_misfit, flags_of

FIELD_BY_FLAG: Final[Mapping[str, str]] = {
    "model": "source",
    "revision": "source (hf://…@revision)",
    "hf-token": "sourceToken",
    "served-model-name": "servedName and aliases",
    "dtype": "engine.dtype",
    "max-model-len": "engine.maxModelLen",
    "block-size": "engine.blockSize",
    "gpu-memory-utilization": "engine.gpuMemoryUtilization",
    "device-memory-utilization": "engine.gpuMemoryUtilization",
    "kv-cache-memory-bytes": "engine.kvCacheMemory",
    "num-gpu-blocks-override": "engine.kvCacheBlocks",
    "kv-cache-dtype": "engine.kvCacheDtype",
    "max-num-seqs": "engine.maxNumSeqs",
    "max-num-batched-tokens": "engine.maxNumBatchedTokens",
    "enable-chunked-prefill": "engine.chunkedPrefill",
    "enable-prefix-caching": "engine.prefixCaching",
    "scheduling-policy": "engine.schedulingPolicy",
    "kv-offloading-size": "engine.kvOffload",
    "enforce-eager": "engine.cudaGraphs",
    "trust-remote-code": "engine.trustRemoteCode",
    "quantization": "engine.quantization",
    "speculative-config": "engine.speculative",
    "spec-method": "engine.speculative",
    "spec-model": "engine.speculative",
    "spec-tokens": "engine.speculative",
    "tensor-parallel-size": "engine.parallel.tensor",
    "pipeline-parallel-size": "engine.parallel.pipeline",
    "data-parallel-size": "engine.parallel.data",
    "enable-expert-parallel": "engine.parallel.expert",
    "nnodes": "engine.parallel.nodes",
    "cpu-offload-gb": "engine.cpuOffload",
    "reasoning-parser": "engine.reasoningParser",
    "tool-call-parser": "engine.toolParser",
    "enable-auto-tool-choice": "engine.toolParser",
    "chat-template": "engine.chatTemplate",
    "limit-mm-per-prompt": "engine.multimodal.limits",
    "enable-lora": "engine.adapters",
    "lora-modules": "engine.adapters",
    "max-loras": "engine.maxAdapters",
    "max-lora-rank": "engine.maxAdapterRank",
    "shutdown-timeout": "engine.drainTimeout",
}
"""Flags that have a field of their own. Two places for one setting could contradict each other."""

_ADDRESS: Final = "Remuda chooses the engine's address: it listens on loopback, behind the gateway"
_KEYS: Final = "the gateway authenticates clients (Tenants), and only the gateway can reach the engine"
_TLS: Final = "TLS ends at the gateway (ModelGateway listen.tls)"
_PROCESS: Final = "Remuda starts and supervises exactly one API server per engine"
_RANKS: Final = "Remuda places the ranks of an engine (engine.parallel)"

OWNED_FLAGS: Final[Mapping[str, str]] = {
    "host": _ADDRESS,
    "port": _ADDRESS,
    "uds": _ADDRESS,
    "root-path": _ADDRESS,
    "api-key": _KEYS,
    "middleware": "it would run inside the engine's server; put it in front of the gateway",
    "ssl-keyfile": _TLS,
    "ssl-certfile": _TLS,
    "ssl-ca-certs": _TLS,
    "ssl-cert-reqs": _TLS,
    "ssl-ciphers": _TLS,
    "enable-ssl-refresh": _TLS,
    "headless": _PROCESS,
    "api-server-count": _PROCESS,
    "config": "settings belong in the model file",
    "grpc": _PROCESS,
    "grpc-port": _PROCESS,
    "log-config-file": "Remuda reads the engine's log to know how its start goes",
    "disable-log-stats": "Remuda reads the engine's metrics to know that it works",
    "disable-uvicorn-access-log": "the gateway already logs each request once",
    "download-dir": "Remuda downloads the weights",
    "load-format": "it follows the source and weights.delivery",
    "node-rank": _RANKS,
    "master-addr": _RANKS,
    "master-port": _RANKS,
    "data-parallel-rank": _RANKS,
    "data-parallel-start-rank": _RANKS,
    "data-parallel-size-local": _RANKS,
    "data-parallel-address": _RANKS,
    "data-parallel-rpc-port": _RANKS,
}

_GPUS: Final = "each engine is given its own GPUs; to leave some of them out, set it for `remuda up` itself"

OWNED_ENV: Final[Mapping[str, str]] = {
    "VLLM_API_KEY": _KEYS,
    "VLLM_HOST_IP": _ADDRESS,
    "VLLM_PORT": _ADDRESS,
    "VLLM_SERVER_DEV_MODE": "it opens routes that reset and inspect the engine",
    "VLLM_TARGET_DEVICE": "it follows hardware.gpu",
    "CUDA_VISIBLE_DEVICES": _GPUS,
    "CUDA_DEVICE_ORDER": _GPUS,
    "VLLM_LOGGING_LEVEL": "Remuda reads the engine's log to know how its start goes",
    "VLLM_CONFIGURE_LOGGING": "Remuda reads the engine's log to know how its start goes",
    "VLLM_LOGGING_CONFIG_PATH": "Remuda reads the engine's log to know how its start goes",
    "PYTHONPATH": "the engine runs in an environment of its own",
    "PYTHONHOME": "the engine runs in an environment of its own",
}

REFUSED_VALUES: Final[Mapping[tuple[str, str | None], str]] = {
    ("VLLM_WORKER_MULTIPROC_METHOD", "forkserver"): (
        "processes of a fork server do not end with the engine, so they would outlive an engine that is killed"
    ),
}
"""Reasons by variable and refused value. Other values of these variables are allowed."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One entry of `extraArgs` or `env` that is refused."""

    place: str
    """Its place in the file, such as `extraArgs.port` or `env[2]`."""
    message: str
    hint: str


def find_refusals(model: spec.Model) -> Iterator[Refusal]:
    """Every extra argument and variable of a model that belongs elsewhere or is not allowed."""
    engine = model.spec.engine
    known = flags_of(engine.version)
    for name, value in engine.extra_args.items():
        refusal = _refuse_flag(name, engine.version, known) or _refuse_value(name, known[name], value)
        if refusal is not None:
            yield refusal
    for index, variable in enumerate(engine.env):
        if variable.name in OWNED_ENV or variable.name.startswith("REMUDA_"):
            reason = OWNED_ENV.get(variable.name, "names that begin with REMUDA_ are reserved")
            yield Refusal(f"env[{index}]", f"{variable.name} cannot be set: {reason}", "remove it")
        elif (variable.name, variable.value) in REFUSED_VALUES:
            reason = REFUSED_VALUES[variable.name, variable.value]
            yield Refusal(f"env[{index}]", f"{variable.name} cannot be {variable.value}: {reason}", "use spawn")


def _refuse_flag(name: str, version: str, known: Mapping[str, Flag]) -> Refusal | None:
    place = f"extraArgs.{name}"
    bare = name.removeprefix("no-") if name not in known else name
    if bare in FIELD_BY_FLAG:
        return Refusal(place, f"--{name} has a field of its own", f"use {FIELD_BY_FLAG[bare]}")
    if bare in OWNED_FLAGS:
        return Refusal(place, f"--{name} cannot be set: {OWNED_FLAGS[bare]}", "remove it")
    if bare != name and bare in known:
        return Refusal(place, f"--{name} is the negative form of --{bare}", f"write {bare}: false")
    if name not in known:
        near = get_close_matches(name, known, 1)
        return Refusal(
            place,
            f"vLLM {version} has no flag --{name}",
            f"did you mean {near[0]}?" if near else "see `vllm serve --help`",
        )
    return None


def _refuse_value(name: str, flag: Flag, value: object) -> Refusal | None:
    misfit = explain_misfit(name, flag, value)
    return None if misfit is None else Refusal(f"extraArgs.{name}", *misfit)
