"""Reads from the log of a starting engine how far its start is.

vLLM has no interface for this, and its log is the only sign of life before it listens. Pure: a line in, what it says
out. A line without meaning gives None, so an unknown version of vLLM merely shows fewer stages. The patterns come from
the logs of vLLM 0.32.0.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from remuda.engine.status import EngineFacts


class Stage(StrEnum):
    """The steps of a start, in order, in the words that a user sees."""

    SPAWNED = "starting Python and importing vLLM"
    READING = "reading the model's configuration"
    CORE = "starting the engine core"
    LOADING = "loading weights"
    KV_CACHE = "setting up the KV cache"
    COMPILING = "compiling and warming up"
    LISTENING = "opening the server"
    PROBING = "asking for a first token"


@dataclass(frozen=True, slots=True)
class LineMeaning:
    """What one log line says."""

    stage: Stage | None = None
    progress: float | None = None
    """0..1 of the stage."""
    facts: EngineFacts | None = None
    port_taken: bool = False


_STAGES: Final = (
    ("non-default args:", Stage.READING),
    ("Resolved architecture", Stage.READING),
    ("Initializing a V", Stage.CORE),
    ("Starting to load model", Stage.LOADING),
    ("Loading model weights", Stage.LOADING),
    ("Loading weights took", Stage.KV_CACHE),
    ("Dynamo bytecode transform", Stage.COMPILING),
    ("torch.compile took", Stage.COMPILING),
    ("Compiling a graph", Stage.COMPILING),
    ("Capturing CUDA graph", Stage.COMPILING),
    ("Warming up", Stage.COMPILING),
    ("init engine (profile", Stage.LISTENING),
    ("Starting vLLM server on", Stage.LISTENING),
    ("Application startup complete", Stage.PROBING),
)
_PATTERNS: Final[tuple[tuple[re.Pattern[str], Callable[[str], LineMeaning]], ...]] = (
    (
        re.compile(r"checkpoint shards:\s+(\d{1,3})% Completed"),
        lambda text: LineMeaning(Stage.LOADING, int(text) / 100),
    ),
    (
        re.compile(r"Capturing CUDA graphs?[^:]*:\s+(\d{1,3})%"),
        lambda text: LineMeaning(Stage.COMPILING, int(text) / 100),
    ),
    (
        re.compile(r"KV cache size: ([\d,]{1,20}) tokens"),
        lambda text: LineMeaning(Stage.KV_CACHE, facts=EngineFacts(kv_tokens=int(text.replace(",", "") or 0))),
    ),
    (
        re.compile(r"Using max model len (\d{1,15})"),
        lambda text: LineMeaning(Stage.READING, facts=EngineFacts(max_model_len=int(text))),
    ),
    (re.compile(r"(ddress already in use)"), lambda _: LineMeaning(port_taken=True)),
    (
        re.compile(r"Initializing a V1 LLM engine \(v([^)]+)\)"),
        lambda text: LineMeaning(Stage.CORE, facts=EngineFacts(version=text)),
    ),
)
"""Lines that hold a value; the group is the value."""


def parse_line(line: str) -> LineMeaning | None:
    """What this log line says about the start; None when nothing."""
    for pattern, read in _PATTERNS:
        if found := pattern.search(line):
            return read(found[1])
    return next((LineMeaning(stage) for text, stage in _STAGES if text in line), None)


def later(one: Stage, other: Stage) -> Stage:
    """The later of two stages: lines of several processes come interleaved, and a start never goes back."""
    order = list(Stage)
    return max(one, other, key=order.index)
