"""The state of one engine at one moment, as a value that is replaced whole on each change; and progress of its files.

The module does not know processes.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum


class EngineState(StrEnum):
    """The states of an engine. Only a READY one gets new requests; a DRAINING one finishes those that run in it."""

    WAITING = "waiting"  # planned, not started yet
    STARTING = "starting"  # the process runs and has not yet answered
    READY = "ready"  # it gave a real answer under the right names
    DRAINING = "draining"  # it was told to stop and finishes its running requests
    BACKOFF = "backoff"  # it died and waits for its next start
    CRASH_LOOP = "crash-loop"  # it dies again and again; it is still restarted, slowly
    FAILED = "failed"  # it cannot work as asked and is not restarted
    STOPPED = "stopped"  # it ended because it was told to


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine reports about itself, in its log or over HTTP; None where it has not said."""

    kv_tokens: int | None = None
    """Tokens that the KV cache holds."""
    max_model_len: int | None = None
    version: str | None = None

    def updated(self, newer: "EngineFacts") -> "EngineFacts":
        """These facts, with those of `newer` that are known."""
        known = {name: value for name, value in asdict(newer).items() if value is not None}
        return replace(self, **known)


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """One engine now. `reason` is a sentence for people; everything else is for programs."""

    model: str
    replica: int
    """0, 1, … among the engines of one model."""
    state: EngineState
    reason: str
    host: str
    port: int
    pid: int | None = None
    """The API process: the leader of the engine's own process group."""
    facts: EngineFacts = field(default_factory=EngineFacts)
    restarts: int = 0
    entered_at: float = 0.0
    """Unix time at which `state` was entered."""
    progress: float | None = None
    """0..1 of the present stage, where it is known."""

    @property
    def id(self) -> str:
        """The name of this engine for people, logs and metrics."""
        return name_engine(self.model, self.replica)

    @property
    def is_ready(self) -> bool:
        """Whether it may get new requests."""
        return self.state is EngineState.READY


def name_engine(model: str, replica: int) -> str:
    """The name of one replica of a model."""
    return f"{model}-{replica}"


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of an installation or download. A total is None where nobody knows it."""

    stage: str
    detail: str = ""
    done_bytes: int | None = None
    total_bytes: int | None = None


ProgressCallback = Callable[[Progress], None]
