"""A snapshot of the fleet: the answer to `remuda status`, stable as JSON.

It joins what the supervisor knows with what engines and gateway report when they are asked. A process that does not
answer costs only its figures.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from remuda import __version__
from remuda.engine.status import EngineStatus
from remuda.fleet.gateway_process import GatewayState, GatewayStatus
from remuda.fleet.plan import FleetPlan

if TYPE_CHECKING:
    from remuda.fleet.reporting.engine_metrics import EngineLoad


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
    """Tokens that its KV cache holds."""
    kv_used: float | None = None
    """Share of the KV cache in use, 0 to 1."""
    max_model_len: int | None = None
    running: int | None = None
    """Requests that it works on."""
    waiting: int | None = None
    """Requests in its queue."""
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
    """An engine that runs elsewhere; the gateway only routes to it."""

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


@dataclass(frozen=True, slots=True)
class FleetView:
    """What the supervisor knows at one moment."""

    plan: FleetPlan
    url: str
    asks_for_keys: bool
    phase: str
    started_at: float
    gateway: GatewayStatus
    engines: tuple[EngineStatus, ...]
    logs: Path


class LoadSource(Protocol):
    """Asks engines and gateway for their figures."""

    async def fetch_load(self, engine_id: str, url: str) -> "EngineLoad | None":
        """The load of the engine at `url`; None when it does not answer."""
        ...

    async def fetch_outcomes(self, url: str) -> dict[str, int] | None:
        """The gateway's requests by outcome; None when it does not answer."""
        ...


async def take_snapshot(view: FleetView, source: LoadSource) -> FleetSnapshot:
    """The fleet now; all processes are asked at the same time."""
    ready = [status for status in view.engines if status.is_ready]
    loads = asyncio.gather(*(source.fetch_load(s.id, f"http://{s.host}:{s.port}") for s in ready))
    is_listening = view.gateway.state is GatewayState.LISTENING
    outcomes = await source.fetch_outcomes(view.url) if is_listening else None
    known = dict(zip((status.id for status in ready), await loads, strict=True))
    return FleetSnapshot(
        version=__version__,
        phase=view.phase,
        pid=os.getpid(),
        started_at=view.started_at,
        files=view.plan.files,
        gateway=_describe_gateway(view, outcomes),
        engines=tuple(_describe_engine(status, known.get(status.id), view.logs) for status in view.engines),
        endpoints=tuple(
            EndpointSnapshot(model=model.metadata.name, url=endpoint.url)
            for model in view.plan.routed
            for endpoint in model.spec.endpoints or ()
        ),
    )


def _describe_gateway(view: FleetView, outcomes: dict[str, int] | None) -> GatewaySnapshot:
    status = view.gateway
    return GatewaySnapshot(
        state=str(status.state),
        reason=status.reason,
        url=view.url,
        auth="keys" if view.asks_for_keys else "open",
        pid=status.pid,
        requests=outcomes,
        restarts=status.restarts,
        since=status.entered_at,
        log=str(view.logs / "gateway.log"),
    )


def _describe_engine(status: EngineStatus, load: "EngineLoad | None", logs: Path) -> EngineSnapshot:
    found = load.metrics if load else None
    return EngineSnapshot(
        id=status.id,
        model=status.model,
        replica=status.replica,
        state=str(status.state),
        reason=status.reason,
        address=f"{status.host}:{status.port}" if status.port else "",
        pid=status.pid,
        version=status.facts.version,
        kv_tokens=status.facts.kv_tokens,
        kv_used=found.kv_usage if found else None,
        max_model_len=status.facts.max_model_len,
        running=found.running if found else None,
        waiting=found.waiting if found else None,
        generated_tokens_per_s=load.tokens_per_s if load else None,
        restarts=status.restarts,
        since=status.entered_at,
        log=str(logs / f"{status.id}.log"),
    )
