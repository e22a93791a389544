"""The models that are served right now, the engines of each, and which of them may be picked.

`Directory` turns a Table into live models, keeping the state of every engine that stays. Leases own the in-flight
counts. It decides nothing itself: `policy.route` picks, `policy.health` judges. Read by `flow`, changed by `health` and
by leases.
"""

from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from remuda.gateway.serving.live_engine import LiveEngine
from remuda.gateway.table import Endpoint, ModelRoute, Table
from remuda.gateway.upstream.connection import Upstream
from remuda.gateway.upstream.pool import PoolLimits
from remuda.policy import health as health_policy
from remuda.policy import route as route_policy
from remuda.policy.health import Event, Health, HealthSettings, State

if TYPE_CHECKING:
    from remuda.gateway.settings import GatewaySettings


class Lease:
    """One request aboard one engine: owns its share of the in-flight counts and its connection until closed, once."""

    __slots__ = ("ahead", "answered", "closed", "engine", "prompt_tokens", "started_s", "upstream")

    def __init__(self, engine: LiveEngine, prompt_tokens: int) -> None:
        self.upstream: Upstream | None = None
        self.answered = self.closed = False
        self.engine = engine
        self.prompt_tokens = prompt_tokens
        self.ahead = engine.load.lease(prompt_tokens)
        self.started_s = monotonic()
        engine.requests += 1

    def begin_answer(self, upstream: Upstream) -> None:
        """The answer has begun. Only a stream's first byte tells the speed of prefill."""
        self.answered = True
        load = self.engine.load
        load.answered(self.prompt_tokens)
        if upstream.head.streams:
            load.measure(self.ahead, upstream.heard_at - self.started_s)
            self.engine.measured_at = upstream.heard_at

    def close(self) -> None:
        """It is over, however it ended."""
        if self.closed:
            return
        self.closed = True
        load = self.engine.load
        if not self.answered:
            load.answered(self.prompt_tokens)
        load.release()
        if self.upstream is not None:
            self.upstream.release()


class LiveModel:
    """One model and the engines that may be picked for it now."""

    __slots__ = ("_pick", "candidates", "engines", "loads", "route", "turn")

    def __init__(self, route: ModelRoute, engines: tuple[LiveEngine, ...]) -> None:
        self.route = route
        self.engines = engines
        self.turn = 0
        self._pick = route_policy.PICKS[route.routing]
        self.choose_candidates()

    def choose_candidates(self) -> None:
        """Again, after a health or the table has changed; never per request."""
        ready = [engine for engine in self.engines if not engine.draining]
        pool = health_policy.choose_pool([engine.health for engine in ready])
        self.candidates = [ready[index] for index in pool.indices]
        self.loads = [engine.load for engine in self.candidates]

    def pick(self, prompt_tokens: int, tried: tuple[LiveEngine, ...]) -> LiveEngine | None:
        """The engine for this request, none that was tried."""
        candidates, loads = self.candidates, self.loads
        if tried:
            candidates = self._others(tried)
            loads = [engine.load for engine in candidates]
        if not candidates:
            return None
        self.turn += 1
        if len(candidates) == 1:
            return candidates[0]
        return candidates[self._pick(loads, prompt_tokens, self.turn)]

    def has_other(self, tried: tuple[LiveEngine, ...]) -> bool:
        """Whether there is an engine that was not tried."""
        return bool(self._others(tried))

    def _others(self, tried: tuple[LiveEngine, ...]) -> list[LiveEngine]:
        """The untried ones, the trusted before the suspect."""
        others = [engine for engine in self.engines if engine not in tried and not engine.draining]
        return [engine for engine in others if engine in self.candidates] or others

    @property
    def ready(self) -> bool:
        """Whether an engine is there that is not known to be down."""
        return any(not engine.draining and engine.health.state is not State.EJECTED for engine in self.engines)


class Served:
    """What a name in a request means."""

    __slots__ = ("adapter", "canonical", "model", "name")

    def __init__(self, name: str | None, model: LiveModel, adapter: str | None = None) -> None:
        self.name = name
        """As asked; None when the request names no model."""
        self.model = model
        self.adapter = adapter
        self.canonical = adapter or model.route.served_name
        """The name access is decided by: the served name, or the adapter's."""


class Directory:
    """All live models by every name a request may use."""

    def __init__(self, settings: "GatewaySettings") -> None:
        self._pool_limits = PoolLimits(
            settings.connect_timeout_s, settings.idle_per_engine, settings.engine_keep_alive_s
        )
        self._health_settings = HealthSettings(settings.health_failures, settings.health_successes)
        self.models: list[LiveModel] = []
        self.by_name: dict[str, Served] = {}
        self.by_json: dict[bytes, Served] = {}
        """The same by the name as it stands in a body, quotes and all: most requests need not decode it."""
        self.engines: dict[str, LiveEngine] = {}
        self.loaded = False

    def apply(self, table: Table) -> None:
        """Take over a new table. Engines that stay keep load, health and connections; the others finish."""
        engines: dict[str, LiveEngine] = {}
        models = []
        for route in table.models:
            live = tuple(self._take_engine(endpoint, engines) for endpoint in route.endpoints)
            models.append(LiveModel(route, live))
        for engine_id, engine in self.engines.items():
            if engines.get(engine_id) is not engine:
                engine.pool.close()
        self.engines = engines
        self.models = models
        self.by_name = _index_names(models)
        self.by_json = {msgspec.json.encode(name): served for name, served in self.by_name.items()}
        self.loaded = True

    def _take_engine(self, endpoint: Endpoint, engines: dict[str, LiveEngine]) -> LiveEngine:
        engine = engines.get(endpoint.id) or self.engines.get(endpoint.id)
        if engine is None or not engine.is_at(endpoint):
            engine = LiveEngine(endpoint, self._pool_limits)
        elif engine.endpoint != endpoint:
            engine.change(endpoint)
        engines[endpoint.id] = engine
        return engine

    def see(self, engine: LiveEngine, event: Event) -> None:
        """Tell an engine's health what happened; candidates follow when it changed."""
        before = engine.health
        after = health_policy.next_health(before, event, monotonic(), self._health_settings)
        if after is not before:
            self.set_health(engine, after)

    def set_health(self, engine: LiveEngine, after: Health) -> None:
        before, engine.health = engine.health, after
        engine.pristine = after.state is State.HEALTHY and not after.failures and not after.ejections
        if after.state is State.EJECTED and before.state is not State.EJECTED:
            engine.ejections += 1
        if before.state is not after.state or before.ejections != after.ejections:
            for model in self.models:
                if engine in model.engines:
                    model.choose_candidates()


def _index_names(models: list[LiveModel]) -> dict[str, Served]:
    """Every name, own names before aliases, so that an alias never hides a model."""
    names = {model.route.served_name: Served(model.route.served_name, model) for model in models}
    for model in models:
        for adapter in model.route.adapters:
            names.setdefault(adapter, Served(adapter, model, adapter))
        for alias, adapter in model.route.adapter_aliases.items():
            names.setdefault(alias, Served(alias, model, adapter))
        for alias in model.route.aliases:
            names.setdefault(alias, Served(alias, model))
    return names
