"""Take a snapshot: what the supervisor knows, joined with what engines and gateway say of themselves. For `status`."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from remuda import __version__
from remuda.engine.status import EngineStatus
from remuda.fleet.gateway_child import GatewayState, GatewayStatus
from remuda.fleet.plan import FleetPlan
from remuda.fleet.scrape import EngineFigures, Scraper
from remuda.fleet.snapshot import EndpointSnapshot, EngineSnapshot, FleetSnapshot, GatewaySnapshot


@dataclass(frozen=True, slots=True)
class View:
    """What the supervisor knows at one moment."""

    plan: FleetPlan
    url: str
    asks_for_keys: bool
    phase: str
    started_at: float
    gateway: GatewayStatus
    engines: tuple[EngineStatus, ...]
    logs: Path


async def take_snapshot(view: View, scraper: Scraper) -> FleetSnapshot:
    """The fleet now. Engines and gateway are asked at once; one that does not answer costs only its figures."""
    ready = [status for status in view.engines if status.live]
    figures = asyncio.gather(*(scraper.fetch_engine(s.id, f"http://{s.host}:{s.port}") for s in ready))
    outcomes = await _fetch_outcomes(view, scraper)
    known = dict(zip((status.id for status in ready), await figures, strict=True))
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


async def _fetch_outcomes(view: View, scraper: Scraper) -> dict[str, int] | None:
    if view.gateway.state is not GatewayState.LISTENING:
        return None
    return await scraper.fetch_outcomes(view.url)


def _describe_gateway(view: View, outcomes: dict[str, int] | None) -> GatewaySnapshot:
    status = view.gateway
    return GatewaySnapshot(
        state=str(status.state),
        reason=status.reason,
        url=view.url,
        auth="keys" if view.asks_for_keys else "open",
        pid=status.pid,
        requests=outcomes,
        restarts=status.restarts,
        since=status.since,
        log=str(view.logs / "gateway.log"),
    )


def _describe_engine(status: EngineStatus, figures: EngineFigures | None, logs: Path) -> EngineSnapshot:
    metrics = figures.metrics if figures else None
    return EngineSnapshot(
        id=status.id,
        model=status.model,
        replica=int(status.id.rpartition("-")[2]),
        state=str(status.state),
        reason=status.reason,
        address=f"{status.host}:{status.port}" if status.port else "",
        pid=status.pid,
        version=status.version,
        kv_tokens=status.kv_tokens,
        kv_used=metrics.kv_usage if metrics else None,
        max_model_len=status.max_model_len,
        running=metrics.running if metrics else None,
        waiting=metrics.waiting if metrics else None,
        generated_tokens_per_s=figures.tokens_per_s if figures else None,
        restarts=status.restarts,
        since=status.since,
        log=str(logs / f"{status.id}.log"),
    )
