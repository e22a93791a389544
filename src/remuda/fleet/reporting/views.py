"""Derives from the engines' statuses what others are told: the gateway's table, progress events, errors and snippets.

Pure: statuses and settings in, values and texts out.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from remuda.engine.status import EngineState, EngineStatus
from remuda.errors import RemudaError
from remuda.fleet.errors import FleetError
from remuda.fleet.gateway_process import GatewayState, GatewayStatus
from remuda.fleet.reporting import events
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Endpoint, ModelRoute, Table
from remuda.machine.errors import explain_os_error

KEY_VARIABLE = "REMUDA_API_KEY"
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
_NEAREST_TO_READY = (
    EngineState.STARTING,
    EngineState.WAITING,
    EngineState.BACKOFF,
    EngineState.CRASH_LOOP,
    EngineState.FAILED,
    EngineState.DRAINING,
    EngineState.STOPPED,
)
"""While a model has no engine, clients are told the reason of the replica whose state comes first here."""
_ROUTED = {EngineState.READY, EngineState.DRAINING}
_LOCAL_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # where a server that listens everywhere is asked


def plan_table(base: Table, statuses: Iterable[EngineStatus]) -> Table:
    """`base` with the engines that `statuses` describe; models without any keep their endpoints."""
    by_model: dict[str, list[EngineStatus]] = {}
    for status in statuses:
        by_model.setdefault(status.model, []).append(status)
    models = tuple(
        _plan_route(route, by_model[route.name]) if route.name in by_model else route for route in base.models
    )
    return msgspec.structs.replace(base, models=models)


def _plan_route(route: ModelRoute, statuses: list[EngineStatus]) -> ModelRoute:
    endpoints = tuple(
        Endpoint(
            id=s.id,
            host=s.host,
            port=s.port,
            state="ready" if s.state is EngineState.READY else "draining",
            supervised=True,
        )
        for s in statuses
        if s.state in _ROUTED
    )
    lengths = [s.facts.max_model_len for s in statuses if s.facts.max_model_len]
    return msgspec.structs.replace(
        route,
        endpoints=endpoints,
        max_model_len=min(lengths) if lengths else route.max_model_len,
        waiting="" if any(s.is_ready for s in statuses) else describe_wait(statuses),
    )


def find_new_words(before: Table, after: Table) -> dict[str, str] | None:
    """What models wait for by now, if that is all that changed since `before`; None when anything else changed."""
    if _without_words(before) != _without_words(after):
        return None
    pairs = zip(before.models, after.models, strict=True)
    return {new.name: new.waiting for old, new in pairs if new.waiting != old.waiting}


def _without_words(table: Table) -> Table:
    models = tuple(msgspec.structs.replace(route, waiting="") for route in table.models)
    return msgspec.structs.replace(table, models=models)


def describe_wait(statuses: Iterable[EngineStatus]) -> str:
    """Why a model has no engine: the state and reason of the replica that is nearest to being ready."""
    nearest = min(
        statuses, key=lambda s: _NEAREST_TO_READY.index(s.state) if s.state in _NEAREST_TO_READY else len(EngineState)
    )
    return _state_with_reason(nearest.state, nearest.reason)


def describe_engine(status: EngineStatus) -> events.Step:
    """One engine's line of progress."""
    if status.state is EngineState.READY:
        detail = describe_readiness(status)
    elif status.state is EngineState.STARTING and status.reason:
        detail = status.reason  # the stage of the start says more than "starting"
    elif status.state is EngineState.STOPPED:
        detail = "stopped"
    else:
        detail = _state_with_reason(status.state, status.reason)
    return events.Step(
        id=status.id, title=status.id, state=_ENGINE_STEPS[status.state], detail=detail, fraction=status.progress
    )


def describe_readiness(status: EngineStatus) -> str:
    """What a ready engine can hold: KV cache tokens and context length, as it reported them."""
    parts = ["ready"]
    if status.facts.kv_tokens:
        parts.append(f"KV cache {status.facts.kv_tokens:,} tokens")
    if status.facts.max_model_len:
        parts.append(f"context {status.facts.max_model_len:,}")
    return ", ".join(parts)


def _state_with_reason(state: str, reason: str) -> str:
    return f"{state}: {reason}" if reason and reason != state else str(state)


def describe_gateway(status: GatewayStatus, url: str) -> events.Step:
    """The gateway's line of progress."""
    listening = status.state is GatewayState.LISTENING
    detail = url if listening else _state_with_reason(status.state, status.reason)
    return events.Step(id="gateway", title="gateway", state=_GATEWAY_STEPS[status.state], detail=detail)


def render_url(settings: GatewaySettings, port: int) -> str:
    """The address that a client on this machine uses, without /v1."""
    listen = settings.listen
    host = _LOCAL_ADDRESS.get(listen.host, f"[{listen.host}]" if ":" in listen.host else listen.host)
    scheme = "https" if listen.tls else "http"
    return f"{scheme}://{host}:{port or listen.port}"


def describe_ready(
    url: str, table: Table, statuses: Iterable[EngineStatus], question: str, *, needs_key: bool
) -> events.Ready:
    """What is served now, and what cannot be served."""
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
    """The first model that has `capability` and an engine."""
    return next((r for r in table.models if capability in r.capabilities and r.endpoints), None)


def pick_model(table: Table, capability: str) -> str:
    """The served name of that model, or ""."""
    route = pick_route(table, capability)
    return route.served_name if route else ""


def explain_error(error: Exception) -> RemudaError:
    """Any error as one that a user can read; the text of an unexpected one is left out, for it may hold a secret."""
    if isinstance(error, RemudaError):
        return error
    if isinstance(error, OSError):
        return explain_os_error(error)
    return FleetError(f"a fault in Remuda ({type(error).__name__})", "report it with the traceback in the fleet's log")


def render_failure(error: RemudaError) -> str:
    """An error as the reason of a state, with its hint in brackets."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def explain_unservable(statuses: Sequence[EngineStatus], refusals: Mapping[str, RemudaError], logs: Path) -> FleetError:
    """Why nothing can be served. A reason that all engines share is given once, with its own hint."""
    causes = {(error.message, error.hint) for error in refusals.values()}
    if len(causes) == 1 and len(refusals) == len(statuses):
        message, hint = causes.pop()
        return FleetError(message, hint)
    if len(statuses) == 1:
        message = f"{statuses[0].id} cannot run: {statuses[0].reason}"
    else:
        lines = "\n".join(f"{status.id}: {status.reason}" for status in statuses)
        message = f"none of the {len(statuses)} engines can run\n{lines}"
    return FleetError(message, f"`remuda logs` shows their output ({logs})")


def render_curl(ready: events.Ready) -> str:
    """A request with curl that works when it is pasted into a shell."""
    body: dict[str, object]
    if ready.chat_model:
        path = "/v1/chat/completions"
        body = {"model": ready.chat_model, "messages": [{"role": "user", "content": ready.question}]}
    else:
        path = "/v1/completions"
        body = {"model": ready.completion_model, "prompt": ready.question, "max_tokens": 60}
    lines = [f"curl {ready.url}{path}", "  -H 'Content-Type: application/json'"]
    if ready.needs_key:
        lines.append(f'  -H "Authorization: Bearer ${KEY_VARIABLE}"')
    lines.append(f"  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}")
    return " \\\n".join(lines)


def render_python(ready: events.Ready) -> str:
    """The same request with the official `openai` package."""
    key = f'os.environ["{KEY_VARIABLE}"]' if ready.needs_key else '"not-needed"'
    if ready.chat_model:
        call = (
            f"answer = client.chat.completions.create(\n"
            f"    model={json.dumps(ready.chat_model)},\n"
            f'    messages=[{{"role": "user", "content": {json.dumps(ready.question)}}}],\n'
            f")\nprint(answer.choices[0].message.content)"
        )
    else:
        call = (
            f"answer = client.completions.create(model={json.dumps(ready.completion_model)}, "
            f"prompt={json.dumps(ready.question)}, max_tokens=60)\nprint(answer.choices[0].text)"
        )
    head = "import os\n" if ready.needs_key else ""
    return f'{head}from openai import OpenAI\n\nclient = OpenAI(base_url="{ready.url}/v1", api_key={key})\n{call}'


def render_models(url: str, *, needs_key: bool) -> str:
    """A request for the list of models, for a fleet whose models take no text (embeddings, scores)."""
    header = f' -H "Authorization: Bearer ${KEY_VARIABLE}"' if needs_key else ""
    return f"curl {url}/v1/models{header}"
