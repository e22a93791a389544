"""Suggests the field that the author of an unknown field probably meant.

It looks for a similar name in the same object, then for the same name elsewhere in the document, and it knows words
from vLLM's command line and from other tools. It does not know which flags vLLM has or how fields become flags.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from pydantic.fields import FieldInfo

from remuda.spec.documents.fields import field_names, shape_at, walk_fields
from remuda.spec.documents.shape import Shape
from remuda.spec.problem import FieldPath

FIELD_OF_WORD: Final[dict[str, str]] = {
    "canaryrequests": "spec.rollout.canary.requests",
    "canaryweight": "spec.rollout.canary.weight",
    "context": "spec.engine.maxModelLen",
    "contextlength": "spec.engine.maxModelLen",
    "cpuoffloadgb": "spec.engine.cpuOffload",
    "dataparallelsize": "spec.engine.parallel.data",
    "downwindow": "spec.scaling.down.window",
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
    "upwindow": "spec.scaling.up.window",
    "weights": "spec.source",
}
"""Words in lower case without separators, and the fields they mean."""


def hint_unknown(root: type[Shape], path: FieldPath) -> str:
    """A hint with the field that the author of an unknown field probably meant."""
    *parent, wrong = path
    shape = shape_at(root, tuple(parent))
    if shape is None or not isinstance(wrong, str):
        return "remove it"
    known = field_names(shape)
    if near := _nearest(wrong, known):
        return f"did you mean {near}?"
    if elsewhere := _elsewhere(root, tuple(parent), wrong):
        return f"did you mean {elsewhere}?"
    if len(known) <= 12:
        return "fields here: " + ", ".join(known)
    return f"remove it; docs/reference/model-file.md lists the {len(known)} fields there are"


def _nearest(wrong: str, known: dict[str, FieldInfo]) -> str | None:
    plain = {_squash(name): name for name in known}
    if _squash(wrong) in plain:
        return plain[_squash(wrong)]
    near = get_close_matches(_squash(wrong), plain, 1, cutoff=0.75)
    return plain[near[0]] if near else None


def _elsewhere(root: type[Shape], parent: FieldPath, wrong: str) -> str | None:
    if root.__name__ == "Model" and _squash(wrong) in FIELD_OF_WORD:
        return FIELD_OF_WORD[_squash(wrong)]
    squashed = _squash(wrong)
    same = [
        field.path for field in walk_fields(root) if _squash(field.path[-1]) == squashed and field.path[:-1] != parent
    ]
    if not same:
        return None
    return ".".join(min((len(path), path) for path in same)[1])


def _squash(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()[:100]
