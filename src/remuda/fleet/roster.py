"""Which engines the gateway may use now: statuses in, Table out. Pure.

The table's models and keys come from the files once; only endpoints, context length and the words said while there
is no engine change with the engines. Called by `supervisor` on each change.
"""

from collections.abc import Iterable

import msgspec

from remuda.engine.status import EngineState, EngineStatus
from remuda.gateway.table import Endpoint, ModelRoute, Table

# Which reason is told while a model has no engine: the nearest to being ready, then what went wrong.
_TELLING = (
    EngineState.STARTING,
    EngineState.WAITING,
    EngineState.BACKOFF,
    EngineState.CRASH_LOOP,
    EngineState.FAILED,
    EngineState.DRAINING,
    EngineState.STOPPED,
)
_ROUTED = {EngineState.READY: "ready", EngineState.DRAINING: "draining"}


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
        Endpoint(id=s.id, host=s.host, port=s.port, state="ready" if s.state is EngineState.READY else "draining")
        for s in statuses
        if s.state in _ROUTED
    )
    lengths = [s.max_model_len for s in statuses if s.max_model_len]
    return msgspec.structs.replace(
        route,
        endpoints=endpoints,
        max_model_len=min(lengths) if lengths else route.max_model_len,
        waiting="" if any(s.live for s in statuses) else describe_wait(statuses),
    )


def describe_wait(statuses: Iterable[EngineStatus]) -> str:
    """Why a model has no engine, in the words of the replica that is nearest to being one."""
    nearest = min(statuses, key=lambda s: _TELLING.index(s.state) if s.state in _TELLING else len(_TELLING))
    return f"{nearest.state}: {nearest.reason}" if nearest.reason else str(nearest.state)
