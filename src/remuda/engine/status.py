"""What is known about one engine at one moment: a value, replaced as a whole on each change.

Does not know processes; `supervise.Engine` makes these, fleet shows them and turns them into endpoints.
"""

from dataclasses import dataclass
from enum import StrEnum


class EngineState(StrEnum):
    """Where an engine stands. Only READY takes new requests; DRAINING still finishes the ones aboard."""

    WAITING = "waiting"  # planned, not begun
    STARTING = "starting"  # the process runs, not yet proven
    READY = "ready"  # gave a real answer under the right names
    DRAINING = "draining"  # told to stop, finishing what it has
    BACKOFF = "backoff"  # died; waiting before the next start
    CRASH_LOOP = "crash-loop"  # dies again and again; still retried, slowly
    FAILED = "failed"  # cannot work as asked; not retried
    STOPPED = "stopped"  # ended because it was asked to


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """One engine now. `reason` is a sentence for people; everything else is for programs."""

    id: str
    model: str
    state: EngineState
    reason: str
    host: str
    port: int
    pid: int | None = None
    """The API process: leader of the engine's own process group."""
    kv_tokens: int | None = None
    """Tokens the KV cache holds, as the engine itself reports."""
    max_model_len: int | None = None
    version: str | None = None
    restarts: int = 0
    since: float = 0.0
    """Unix time at which `state` was entered."""
    progress: float | None = None
    """0..1 within the present stage where it can be known."""
    served_names: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        """May be given new requests."""
        return self.state is EngineState.READY
