"""Words people bring along from vLLM's command line and from other tools, and the field they mean.

Does: let an unknown field be answered with the right one. Only words that resemble no field by themselves need to be
here.
Does not know: which flags vLLM has, or how fields become flags (package `vllm`).
Called by: `fields`.
"""

from __future__ import annotations

from typing import Final

FIELD_OF_WORD: Final[dict[str, str]] = {
    "context": "spec.engine.maxModelLen",
    "contextlength": "spec.engine.maxModelLen",
    "cpuoffloadgb": "spec.engine.cpuOffload",
    "dataparallelsize": "spec.engine.parallel.data",
    "dp": "spec.engine.parallel.data",
    "enableautotoolchoice": "spec.engine.toolParser",
    "enablechunkedprefill": "spec.engine.chunkedPrefill",
    "enableexpertparallel": "spec.engine.parallel.expert",
    "enablelora": "spec.engine.adapters",
    "enableprefixcaching": "spec.engine.prefixCaching",
    "enforceeager": "spec.engine.cudaGraphs (false = eager)",
    "gpus": "spec.hardware.gpuCount",
    "hftoken": "spec.sourceToken",
    "kvcachememorybytes": "spec.engine.kvCacheMemory",
    "kvoffloadingsize": "spec.engine.kvOffload",
    "limitmmperprompt": "spec.engine.multimodal.limits",
    "loramodules": "spec.engine.adapters",
    "loras": "spec.engine.adapters",
    "maxlorarank": "spec.engine.maxAdapterRank",
    "maxloras": "spec.engine.maxAdapters",
    "maxreplicas": "spec.scaling.max",
    "minreplicas": "spec.scaling.min",
    "model": "spec.source",
    "modelid": "spec.source",
    "nnodes": "spec.engine.parallel.nodes",
    "numgpublocksoverride": "spec.engine.kvCacheBlocks",
    "pipelineparallelsize": "spec.engine.parallel.pipeline",
    "pp": "spec.engine.parallel.pipeline",
    "resources": "spec.hardware",
    "servedmodelname": "spec.servedName",
    "shutdowntimeout": "spec.engine.drainTimeout",
    "speculativeconfig": "spec.engine.speculative",
    "tensorparallelsize": "spec.engine.parallel.tensor",
    "toolcallparser": "spec.engine.toolParser",
    "tp": "spec.engine.parallel.tensor",
    "weights": "spec.source",
}
"""Word in small letters without separators → field."""
