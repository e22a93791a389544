"""One engine, planned: everything `supervise` needs to run it, as a value that can be shown and tested.

Pure but for reading the number of cores and creating nothing. Does not know how processes are started. Fleet calls
`plan_engine` once per replica.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """One replica of one model."""

    id: str
    """`<model>-<replica>`; names the log file and the metric label."""
    model: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    """The whole environment of the process; may hold secrets, so it is never printed."""
    host: str
    port: int
    log_path: Path
    served_names: tuple[str, ...]
    probe_path: str
    """Route of the one-token readiness question."""
    startup_timeout_s: float
    drain_timeout_s: float
    notes: tuple[str, ...] = ()
    """What was decided for the user: block size mapped, threads, eager mode …; shown once by `up`."""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """Values to be masked in logs."""
