"""All models and engines that are served right now, by every name a request may use.

Turns each new Table into live models. Engines and models that stay keep what is known about them. Does not decide which
engine takes a request.
"""

import asyncio
from collections.abc import Iterator
from time import monotonic

import msgspec

from remuda.gateway.serving.live_engine import LiveEngine
from remuda.gateway.serving.live_model import LiveModel
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Endpoint, Split, Table
from remuda.gateway.upstream.pool import PoolLimits
from remuda.policy import health as health_policy
from remuda.policy.blame import Blame
from remuda.policy.health import Event, Health, HealthSettings, State
from remuda.policy.split import pick_split


class Served:
    """What a name in a request means: a model, or one of its adapters."""

    __slots__ = ("adapter", "canonical", "model", "name")

    def __init__(self, name: str | None, model: LiveModel, adapter: str | None = None) -> None:
        self.name = name
        """As asked; None when the request names no model."""
        self.model = model
        self.adapter = adapter
        self.canonical = adapter or model.route.served_name
        """The name that access is decided by: the served name, or the adapter's."""


class SplitName:
    """A name whose requests are divided between models by weight."""

    def __init__(self, name: str, members: list[Served], weights: list[int]) -> None:
        self.name = name
        self.members = members
        self.weights = weights
        self.balances = [0] * len(weights)

    def go_on_from(self, before: "SplitName") -> None:
        """Divide on as before, if nothing but the engines has changed: a new table must not begin a new round."""
        same = [served.canonical for served in before.members] == [served.canonical for served in self.members]
        if same and before.weights == self.weights:
            self.balances = before.balances

    def next(self) -> Served:
        """What the name means for this request."""
        member = self.members[pick_split(self.weights, self.balances)]
        return Served(self.name, member.model, member.adapter)


class Directory:
    """See the module."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._pool_limits = PoolLimits(
            settings.timeouts.connect_s, settings.idle_per_engine, settings.engine_keep_alive_s
        )
        self._health_settings = HealthSettings(settings.health.failures, settings.health.successes)
        self.models: list[LiveModel] = []
        self.by_name: dict[str, Served] = {}
        self.by_json: dict[bytes, Served] = {}
        """The same by the name as it stands in a body, quotes and all: most requests need not decode it."""
        self.splits: dict[str, SplitName] = {}
        self.engines: dict[str, LiveEngine] = {}
        self._leaving: list[LiveEngine] = []
        """Engines that left the table and still have connections: their streams end by the same deadlines."""
        self.first_table = asyncio.Event()
        """Set when the first table has been applied."""
        self.generation = 0
        """Tables applied so far."""

    # ---- changes

    def apply(self, table: Table) -> None:
        """Take over a new table. Requests on their way keep the engine they have."""
        engines: dict[str, LiveEngine] = {}
        known = {model.route.name: model for model in self.models}
        models = []
        for route in table.models:
            live = tuple(self._take_engine(endpoint, engines) for endpoint in route.endpoints)
            model = known.get(route.name)
            if model is None:
                model = LiveModel(route, live)
            else:
                model.change(route, live)
            models.append(model)
        for engine_id, engine in self.engines.items():
            if engines.get(engine_id) is not engine:
                engine.pool.close()
                self._leaving.append(engine)
        self.engines = engines
        self.models = models
        self.by_name = _index_names(models)
        divided = _divide_names(table.splits, self.by_name)
        for name, split in divided.items():
            if name in self.splits:
                split.go_on_from(self.splits[name])
        self.splits = divided
        self.by_json = {msgspec.json.encode(name): served for name, served in self.by_name.items()}
        for name in self.splits:
            self.by_json.pop(msgspec.json.encode(name), None)
        self.generation += 1
        self.first_table.set()

    def _take_engine(self, endpoint: Endpoint, engines: dict[str, LiveEngine]) -> LiveEngine:
        engine = engines.get(endpoint.id) or self.engines.get(endpoint.id)
        if engine is None or not engine.is_at(endpoint):
            engine = LiveEngine(endpoint, self._pool_limits)
        elif engine.endpoint != endpoint:
            engine.change(endpoint)
        engines[endpoint.id] = engine
        return engine

    def explain(self, waiting: dict[str, str]) -> None:
        """What models wait for now, in words: model → words. No new table: nothing else changes."""
        for model in self.models:
            if model.route.name in waiting:
                model.waiting = waiting[model.route.name]

    @property
    def loaded(self) -> bool:
        """Whether a table has been applied."""
        return self.generation > 0

    # ---- names

    def find(self, name: str) -> Served | None:
        """What a name means for the next request to it."""
        split = self.splits.get(name)
        return self.by_name.get(name) if split is None else split.next()

    # ---- health

    def see(self, engine: LiveEngine, event: Event, *, certain: bool = True) -> None:
        """Tell an engine's health what happened. The candidates follow when it has changed."""
        before = engine.health
        after = health_policy.next_health(before, event, monotonic(), self._health_settings, certain=certain)
        if after is not before:
            self.set_health(engine, after)

    def blame(self, blames: list[Blame]) -> None:
        """Tell engines what they are blamed for."""
        for blame in blames:
            engine = self.engines.get(blame.engine_id)
            if engine is not None:
                self.see(engine, blame.event, certain=blame.certain)

    def set_health(self, engine: LiveEngine, after: Health) -> None:
        before, engine.health = engine.health, after
        engine.pristine = after.state is State.HEALTHY and not after.failures and not after.ejections
        if after.state is State.EJECTED and before.state is not State.EJECTED:
            engine.ejections += 1
        if before.state is not after.state or before.ejections != after.ejections:
            for model in self.models:
                if engine in model.engines:
                    model.choose_candidates()

    def set_hung(self, engine: LiveEngine, *, hung: bool) -> None:
        """Take an engine out of the choice, or back into it."""
        engine.hung = hung
        for model in self.models:
            if engine in model.engines:
                model.choose_candidates()

    def connected(self) -> Iterator[LiveEngine]:
        """Engines that may have connections, those that left the table included."""
        if self._leaving:
            self._leaving = [engine for engine in self._leaving if engine.pool.connections]
            yield from self._leaving
        yield from self.engines.values()


def _index_names(models: list[LiveModel]) -> dict[str, Served]:
    """Every name. A model's own name comes before aliases, so that an alias never hides a model."""
    names = {model.route.served_name: Served(model.route.served_name, model) for model in models}
    for model in models:
        for adapter in model.route.adapters:
            names.setdefault(adapter, Served(adapter, model, adapter))
        for alias, adapter in model.route.adapter_aliases.items():
            names.setdefault(alias, Served(alias, model, adapter))
        for alias in model.route.aliases:
            names.setdefault(alias, Served(alias, model))
    return names


def _divide_names(splits: tuple[Split, ...], names: dict[str, Served]) -> dict[str, SplitName]:
    """The names that are divided. A part whose model is not served gives its share to the others."""
    divided = {}
    for split in splits:
        parts = [(names[model], weight) for model, weight in split.parts if model in names and weight > 0]
        if parts:
            members = [served for served, _ in parts]
            divided[split.name] = SplitName(split.name, members, [weight for _, weight in parts])
    return divided
