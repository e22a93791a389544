"""Explains in one sentence why an engine died, from its last log lines, its exit status and the kernel's OOM counts.

vLLM exits with status 0 after its core crashed, so the status alone says nothing. The cause is in the log, inside two
interleaved tracebacks. Warnings and notices explain no death, because vLLM goes on after them. Pure.
"""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from remuda.machine.processes import name_signal

_SHOWN = 300
"""Characters of a log line worth repeating in a status."""


@dataclass(frozen=True, slots=True)
class Death:
    """An end that nobody asked for."""

    reason: str
    """A sentence, with the last meaningful log line."""
    hint: str = ""
    is_permanent: bool = False
    """The same file on the same machine would fail in the same way, so another start is of no use."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known about the end of a process."""

    status: int | None
    """Exit status; negative: the signal that killed it; None: it never started."""
    lines: Sequence[str]
    machine_oom_kills: int = 0
    """Processes of this machine that the kernel killed for lack of memory while the engine ran."""
    own_oom_kills: int | None = None
    """Those that were the engine's own; None when the kernel does not count them."""
    was_ready: bool = False


_MEMORY: Final = (
    (
        re.compile(r"CUDA out of memory|torch\.OutOfMemoryError|CUDA error: out of memory"),
        "the GPU's memory is full",
        "lower gpuMemoryUtilization or maxModelLen, use more GPUs (parallel.tensor), or a quantised model",
    ),
    (
        re.compile(r"No available memory for the cache blocks"),
        "the weights leave no memory for the KV cache",
        "raise gpuMemoryUtilization, use more GPUs (parallel.tensor), or a quantised model",
    ),
    (
        re.compile(r"DefaultCPUAllocator: (can't allocate|not enough) memory|Cannot allocate memory|\bMemoryError\b"),
        "the machine's memory is full",
        "lower kvCacheMemory, run fewer replicas, or use a smaller or quantised model",
    ),
    (
        re.compile(r"(Free|Available) memory on .* is less than desired"),
        "less memory is free than the engine wants",
        "free some (other engines, other programs), or set kvCacheMemory or a lower gpuMemoryUtilization",
    ),
)
_PERMANENT: Final = (
    (
        re.compile(
            r"serve at least one request with the models?'?s? max(imum)? seq|larger than the maximum number of tokens"
        ),
        "the KV cache cannot hold one request of the full length",
        "raise kvCacheMemory, or lower maxModelLen",
    ),
    (
        re.compile(r"is greater than the derived max_model_len|User-specified max_model_len"),
        "maxModelLen is more than the model was made for",
        "lower maxModelLen, or leave it out",
    ),
    (
        re.compile(r"(unrecognized arguments|argument --[\w-]+: (invalid|expected))"),
        "vLLM does not take these arguments",
        "check engine.extraArgs against this version of vLLM",
    ),
    (
        re.compile(r"Model architectures? .* (not supported|are not supported|failed to be inspected)"),
        "this version of vLLM does not know the model's architecture",
        "use another engine.version, or another model",
    ),
    (
        re.compile(r"(ModuleNotFoundError|ImportError|undefined symbol|cannot open shared object)"),
        "the engine's environment is damaged",
        "`remuda engine install --repair`",
    ),
    (
        re.compile(
            r"(SafetensorError|Error while deserializing|Cannot find any model weights|is not a valid JSON file)"
        ),
        "the weights are incomplete or damaged",
        "delete that model's folder so that it is fetched again",
    ),
)
_ERROR_LINE: Final = re.compile(r"\b([A-Za-z_.]*(?:Error|Exception|Interrupt|Killed))\b:? ?(.*)")
_CONSEQUENCES: Final = (
    "Engine core initialization failed",
    "EngineDeadError",
    "EngineCore encountered an issue",
    "Engine core proc",
    "died unexpectedly",
    "KeyboardInterrupt",
    "CancelledError",
    "Traceback (most recent call last)",
    "leaked semaphore",
    "leaked shared_memory",
    "resource_tracker",
    "remuda: ",
)
_NOT_AN_ERROR: Final = re.compile(r"^(\([A-Za-z_]+\d* pid=\d+\) )?(DEBUG|INFO|WARNING) [\d-]+ [\d:]+ ")
_PREFIX: Final = re.compile(r"^(\([A-Za-z_]+\d* pid=\d+\) )?((INFO|WARNING|ERROR|CRITICAL) [\d-]+ [\d:]+ \[[^\]]+\] )?")


def explain_death(ending: Ending) -> Death:
    """Name the cause. Lack of memory is looked for first, because it hides behind every other message."""
    said = last_meaningful_line(ending.lines)
    text = "\n".join(line for line in ending.lines if not _NOT_AN_ERROR.match(line))
    if found := _find_cause(_MEMORY, text):
        reason, hint = found
        return Death(f"out of memory: {reason}", hint)
    if _was_killed_for_memory(ending):
        return Death(
            "out of memory: the kernel killed a process of the engine",
            "lower kvCacheMemory, run fewer replicas, or give the engine more memory",
        )
    if not ending.was_ready and not _was_killed(ending) and (found := _find_cause(_PERMANENT, text)):
        return Death(*found, is_permanent=True)
    how = _how(ending)
    return Death(f"{how}: {said}" if said else how, "see its log: `remuda logs`")


def last_meaningful_line(lines: Sequence[str]) -> str:
    """The line that a person would quote: the last error that is not the consequence of another one."""
    fallback = ""
    for line in reversed(lines):
        bare = _PREFIX.sub("", line).strip()
        if not bare or any(text in bare for text in _CONSEQUENCES):
            continue
        found = None if _NOT_AN_ERROR.match(line) else _ERROR_LINE.search(bare)
        if found and not bare.startswith(("File ", "raise ")):
            return bare[found.start() :][:_SHOWN]
        if not fallback and not line.startswith((" ", "INFO:")):
            fallback = bare[:_SHOWN]
    return fallback


def _was_killed(ending: Ending) -> bool:
    """Whether a signal from outside ended it, so that none of its log lines explains the end."""
    return ending.status is not None and ending.status < 0


def _was_killed_for_memory(ending: Ending) -> bool:
    """Whether the kernel killed a process of the engine for lack of memory.

    Without a count of the engine's own, a kill anywhere on the machine counts if the engine looks killed: its API
    process got SIGKILL, or ended by itself because its core was gone.
    """
    if ending.own_oom_kills is not None:
        return ending.own_oom_kills > 0
    if not ending.machine_oom_kills:
        return False
    return ending.status == -signal.SIGKILL or any(
        "died unexpectedly" in line or "EngineDead" in line for line in ending.lines
    )


def _find_cause(causes: Sequence[tuple[re.Pattern[str], str, str]], text: str) -> tuple[str, str] | None:
    """The first cause the log names: its sentence with the line that says it, and the hint."""
    for pattern, reason, hint in causes:
        if found := pattern.search(text):
            return f"{reason} ({_line_of(text, found)})", hint
    return None


def _line_of(text: str, found: re.Match[str]) -> str:
    start = text.rfind("\n", 0, found.start()) + 1
    end = text.find("\n", found.end())
    return _PREFIX.sub("", text[start : end if end >= 0 else None]).strip()[:_SHOWN]


def _how(ending: Ending) -> str:
    when = "" if ending.was_ready else " while starting"
    if ending.status is None:
        return "it could not be started"
    if ending.status < 0:
        return f"it was killed{when} by {name_signal(-ending.status)}"
    if ending.status == 0:
        return "it exited by itself (its core is gone)" if ending.was_ready else f"it ended{when}"
    return f"it ended{when} with status {ending.status}"
