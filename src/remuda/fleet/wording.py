"""How the fleet's states read: statuses in, events and messages out. Pure; called by `supervisor`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from remuda.engine.status import EngineState, EngineStatus
from remuda.errors import RemudaError
from remuda.fleet import events
from remuda.fleet.errors import FleetError
from remuda.fleet.gateway_child import GatewayState, GatewayStatus
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import ModelRoute, Table

_ENGINE_STEPS = {
    EngineState.WAITING: events.StepState.RUNNING,
    EngineState.STARTING: events.StepState.RUNNING,
    EngineState.READY: events.StepState.DONE,
    EngineState.DRAINING: events.StepState.RUNNING,
    EngineState.STOPPED: events.StepState.DONE,
    EngineState.BACKOFF: events.StepState.WARNED,
    EngineState.CRASH_LOOP: events.StepState.FAILED,
    EngineState.FAILED: events.StepState.FAILED,
}
_GATEWAY_STEPS = {
    GatewayState.STARTING: events.StepState.RUNNING,
    GatewayState.LISTENING: events.StepState.DONE,
    GatewayState.BACKOFF: events.StepState.WARNED,
    GatewayState.DRAINING: events.StepState.RUNNING,
    GatewayState.STOPPED: events.StepState.DONE,
}
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # listening everywhere is asked at home


def describe_engine(status: EngineStatus) -> events.Step:
    """One engine's line of progress."""
    if status.state is EngineState.READY:
        detail = describe_readiness(status)
    elif status.state is EngineState.STARTING and status.reason:
        detail = status.reason  # the stages speak for themselves
    elif status.state is EngineState.STOPPED:
        detail = "stopped"
    else:
        detail = _tell(status.state, status.reason)
    return events.Step(
        id=status.id, title=status.id, state=_ENGINE_STEPS[status.state], detail=detail, fraction=status.progress
    )


def describe_readiness(status: EngineStatus) -> str:
    """What a ready engine can do: room for tokens and context length, as it reported them."""
    parts = ["ready"]
    if status.kv_tokens:
        parts.append(f"KV cache {status.kv_tokens:,} tokens")
    if status.max_model_len:
        parts.append(f"context {status.max_model_len:,}")
    return ", ".join(parts)


def _tell(state: str, reason: str) -> str:
    return f"{state}: {reason}" if reason and reason != state else str(state)


def describe_gateway(status: GatewayStatus, url: str) -> events.Step:
    """The gateway's line of progress."""
    detail = url if status.state is GatewayState.LISTENING else _tell(status.state, status.reason)
    return events.Step(id="gateway", title="gateway", state=_GATEWAY_STEPS[status.state], detail=detail)


def render_url(settings: GatewaySettings, port: int) -> str:
    """The address a client on this machine uses, without /v1."""
    host = _ANY_ADDRESS.get(settings.host, f"[{settings.host}]" if ":" in settings.host else settings.host)
    scheme = "https" if settings.tls_cert_file else "http"
    return f"{scheme}://{host}:{port or settings.port}"


def describe_ready(
    url: str, table: Table, statuses: Iterable[EngineStatus], question: str, *, needs_key: bool
) -> events.Ready:
    """What serves now, and what cannot."""
    broken = (EngineState.FAILED, EngineState.CRASH_LOOP)
    return events.Ready(
        url=url,
        models=tuple(route.served_name for route in table.models if route.endpoints),
        chat_model=pick_model(table, "chat"),
        completion_model=pick_model(table, "completion"),
        needs_key=needs_key,
        question=question,
        failed=tuple(f"{s.id}: {s.reason}" for s in statuses if s.state in broken),
    )


def pick_route(table: Table, capability: str) -> ModelRoute | None:
    """The first model with an engine that has `capability`."""
    return next((r for r in table.models if capability in r.capabilities and r.endpoints), None)


def pick_model(table: Table, capability: str) -> str:
    """Its served name, or ""."""
    route = pick_route(table, capability)
    return route.served_name if route else ""


def render_failure(error: RemudaError) -> str:
    """An error as the reason of a state: what to do stands beside what happened."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def explain_hopeless(statuses: Sequence[EngineStatus], refusals: Mapping[str, RemudaError], logs: Path) -> FleetError:
    """Why nothing can be served. One reason for all engines is told once, with its own hint."""
    causes = {(error.message, error.hint) for error in refusals.values()}
    if len(causes) == 1 and len(refusals) == len(statuses):
        message, hint = causes.pop()
        return FleetError(message, hint)
    if len(statuses) == 1:
        told = f"{statuses[0].id} cannot run: {statuses[0].reason}"
    else:
        lines = "\n".join(f"{status.id}: {status.reason}" for status in statuses)
        told = f"none of the {len(statuses)} engines can run\n{lines}"
    return FleetError(told, f"`remuda logs` shows what they said ({logs})")
