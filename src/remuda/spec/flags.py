"""vLLM's flags that have a field of their own, and those a file may not set.

Does: name the field for a flag, so that `extraArgs` cannot contradict the file and people who know vLLM find their way.
Does not know: how a field becomes a flag (package `vllm`).
Called by: `engine` (refusing flags in extraArgs) and `fields` (hints).
"""

from __future__ import annotations

from typing import Final

FIELD_OF_FLAG: Final[dict[str, str]] = {
    "block-size": "blockSize",
    "chat-template": "chatTemplate",
    "cpu-offload-gb": "cpuOffload",
    "data-parallel-size": "parallel.data",
    "dtype": "dtype",
    "enable-auto-tool-choice": "toolParser",
    "enable-chunked-prefill": "chunkedPrefill",
    "enable-expert-parallel": "parallel.expert",
    "enable-lora": "adapters",
    "enable-prefix-caching": "prefixCaching",
    "enforce-eager": "cudaGraphs",
    "gpu-memory-utilization": "gpuMemoryUtilization",
    "kv-cache-dtype": "kvCacheDtype",
    "kv-cache-memory-bytes": "kvCacheMemory",
    "kv-offloading-size": "kvOffload",
    "limit-mm-per-prompt": "multimodal.limits",
    "lora-modules": "adapters",
    "max-lora-rank": "maxAdapterRank",
    "max-loras": "maxAdapters",
    "max-model-len": "maxModelLen",
    "max-num-batched-tokens": "maxNumBatchedTokens",
    "max-num-seqs": "maxNumSeqs",
    "nnodes": "parallel.nodes",
    "num-gpu-blocks-override": "kvCacheBlocks",
    "pipeline-parallel-size": "parallel.pipeline",
    "quantization": "quantization",
    "reasoning-parser": "reasoningParser",
    "scheduling-policy": "schedulingPolicy",
    "shutdown-timeout": "drainTimeout",
    "speculative-config": "speculative",
    "tensor-parallel-size": "parallel.tensor",
    "tool-call-parser": "toolParser",
    "trust-remote-code": "trustRemoteCode",
}
"""Flag → field below `spec.engine`."""

OWNED_FLAGS: Final[dict[str, str]] = {
    "model": "spec.source names the weights",
    "served-model-name": "spec.servedName and spec.aliases name the model",
    "revision": "pin the revision in spec.source: hf://organisation/name@revision",
    "hf-token": "spec.sourceToken says where the token is kept",
    "api-key": "engines listen only where the gateway reaches them; keys belong to Tenants",
    "host": "engines listen only where the gateway reaches them",
    "port": "Remuda picks a free port",
    "uds": "Remuda reaches engines by TCP",
    "root-path": "the gateway owns the paths",
    "ssl-keyfile": "TLS belongs to the gateway: ModelGateway spec.listen.tls",
    "ssl-certfile": "TLS belongs to the gateway: ModelGateway spec.listen.tls",
    "ssl-ca-certs": "TLS belongs to the gateway: ModelGateway spec.listen.tls",
    "headless": "Remuda starts the ranks: spec.engine.parallel.nodes",
    "node-rank": "Remuda starts the ranks: spec.engine.parallel.nodes",
    "master-addr": "Remuda starts the ranks: spec.engine.parallel.nodes",
    "master-port": "Remuda starts the ranks: spec.engine.parallel.nodes",
    "distributed-executor-backend": "Remuda chooses how ranks are started: spec.engine.parallel",
    "data-parallel-address": "Remuda starts the ranks: spec.engine.parallel",
    "data-parallel-rpc-port": "Remuda starts the ranks: spec.engine.parallel",
    "api-server-count": "one engine has one API server, so that its load is known",
    "allow-remote-code": "spec.engine.trustRemoteCode",
    "config": "write the settings in this file",
    "middleware": "code of your own does not run inside the engine's server",
    "enable-scale-out": "it opens routes that bypass the gateway's limits",
}
"""Flags Remuda must set itself → why, or what to write instead."""
