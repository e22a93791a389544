"""What is true of a fleet at one moment: the answer to `remuda status`, stable as JSON.

Values only. `supervisor` makes them, `control` carries them, `cli.status` prints them.
"""

import msgspec


class EngineSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One replica."""

    id: str
    model: str
    replica: int
    state: str
    reason: str
    address: str
    pid: int | None = None
    version: str | None = None
    kv_tokens: int | None = None
    """Tokens its KV cache holds."""
    kv_used: float | None = None
    """Share of the KV cache in use, 0 to 1."""
    max_model_len: int | None = None
    running: int | None = None
    """Requests it works on."""
    waiting: int | None = None
    """Requests queued inside the engine."""
    generated_tokens_per_s: float | None = None
    restarts: int = 0
    since: float = 0.0
    """Unix time at which it entered its state."""
    log: str = ""


class GatewaySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway process."""

    state: str
    reason: str
    url: str
    auth: str
    """open: no key needed; keys: an API key is needed."""
    pid: int | None = None
    requests: dict[str, int] | None = None
    """Requests since it started, by outcome; None when it does not answer."""
    restarts: int = 0
    since: float = 0.0
    log: str = ""


class EndpointSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An engine that runs elsewhere and is only routed to."""

    model: str
    url: str


class FleetSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole fleet."""

    schema: str = "remuda.dev/fleet-status/v1"
    version: str
    phase: str
    """starting, serving, stopping"""
    pid: int
    started_at: float
    files: tuple[str, ...]
    gateway: GatewaySnapshot
    engines: tuple[EngineSnapshot, ...]
    endpoints: tuple[EndpointSnapshot, ...] = ()
