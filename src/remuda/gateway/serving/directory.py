"""What is known right now about each engine: its load, its health, its idle connections; and which may be picked.

`Directory` turns a Table into live models, keeping the state of every engine that stays. Leases own the in-flight
counts. It decides nothing itself: `policy.route` picks, `policy.health` judges. Read by `flow`, changed by `health` and
by leases.
"""

import asyncio
import ssl
from time import monotonic
from typing import TYPE_CHECKING, cast

import msgspec

from remuda.gateway.head_memo import HeadMemo
from remuda.gateway.table import Endpoint, ModelRoute, Table
from remuda.gateway.upstream.connection import AnswerHead, AttemptFailed, Upstream
from remuda.gateway.waiting import Signal
from remuda.policy import health as health_policy
from remuda.policy import route as route_policy
from remuda.policy.health import Event, Health, HealthSettings, State
from remuda.policy.retry import Phase
from remuda.vllm.routes import Route

if TYPE_CHECKING:
    from remuda.gateway.settings import GatewaySettings


class Engine:
    """One engine, live."""

    __slots__ = (
        "_connecting",
        "_settings",
        "_tls",
        "all",
        "answer_memo",
        "connects",
        "draining",
        "ejections",
        "endpoint",
        "failures",
        "head_lines",
        "health",
        "id_line",
        "idle",
        "load",
        "measured_s",
        "model_name",
        "path_prefix",
        "pristine",
        "removed",
        "request_starts",
        "requests",
        "retries",
    )

    def __init__(self, endpoint: Endpoint, settings: "GatewaySettings") -> None:
        self._settings = settings
        self.load = route_policy.EndpointLoad()
        self.health = Health(State.HEALTHY, monotonic())
        self.pristine = True
        """Healthy without a past: a good answer changes nothing, so it need not be told."""
        self.idle: list[Upstream] = []
        self.all: set[Upstream] = set()
        self.answer_memo: HeadMemo[AnswerHead] | None = None
        """The head of its last whole answer."""
        self.removed = False
        self.requests = 0
        self.failures = 0
        self.retries = 0
        self.connects = 0
        self.ejections = 0
        self.measured_s = monotonic()
        self._connecting: set[asyncio.Task[None]] = set()
        self._tls: ssl.SSLContext | None = None
        self.point_to(endpoint)

    def point_to(self, endpoint: Endpoint) -> None:
        """Take over a changed description of the same engine."""
        self.endpoint = endpoint
        self.draining = endpoint.state == "draining"
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        key = f"authorization: Bearer {endpoint.api_key}\r\n" if endpoint.api_key else ""
        self.head_lines = f"host: {host}:{endpoint.port}\r\n{key}".encode()
        self.id_line = f"x-remuda-engine: {endpoint.id}\r\n".encode()
        self.path_prefix = endpoint.path_prefix.rstrip("/").encode()
        self.model_name = endpoint.upstream_model
        self.request_starts: dict[str, bytes] = {}
        self._tls = ssl.create_default_context() if endpoint.tls else None

    def render_start(self, route: Route) -> bytes:
        """The first lines of any request to this engine on this route; remembered."""
        start = b"POST %b%b HTTP/1.1\r\n%b" % (self.path_prefix, route.path.encode(), self.head_lines)
        self.request_starts[route.path] = start
        return start

    # ---- connections

    def take_idle(self, fresh: bool) -> Upstream | None:
        """An idle connection, the newest first; None when there is none, or a fresh one is wanted."""
        idle = self.idle
        while idle and not fresh:
            upstream = idle.pop()
            if not upstream.lost and not upstream.transport.is_closing():
                return upstream
        return None

    def connect(self) -> Signal[Upstream]:
        """A new connection, when it is there."""
        signal: Signal[Upstream] = Signal()
        task = asyncio.get_running_loop().create_task(self._connect(signal))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return signal

    async def _connect(self, signal: Signal[Upstream]) -> None:
        try:
            upstream = await self.open_connection()
        except AttemptFailed as failure:
            signal.fail(failure)
            return
        if signal.abandoned:
            self.keep(upstream)
        else:
            signal.set(upstream)

    async def open_connection(self) -> Upstream:
        """A new connection, or AttemptFailed."""
        endpoint = self.endpoint
        self.connects += 1
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                _, protocol = await asyncio.get_running_loop().create_connection(
                    lambda: cast("asyncio.Protocol", Upstream(self, self._forget)),
                    endpoint.host,
                    endpoint.port,
                    ssl=self._tls,
                    server_hostname=endpoint.host if self._tls else None,
                )
        except TimeoutError:
            raise AttemptFailed(Phase.CONNECT, "it did not accept a connection in time") from None
        except (OSError, UnicodeError) as error:
            raise AttemptFailed(Phase.CONNECT, type(error).__name__) from error
        upstream = cast("Upstream", protocol)
        self.all.add(upstream)
        return upstream

    def keep(self, upstream: Upstream) -> None:
        """An unused connection waits here for the next request."""
        if self.removed or len(self.idle) >= self._settings.idle_per_engine:
            upstream.transport.close()
            return
        upstream.deadline_s = monotonic() + self._settings.engine_keep_alive_s
        self.idle.append(upstream)

    def _forget(self, upstream: Upstream) -> None:
        self.all.discard(upstream)
        if not upstream.busy and upstream in self.idle:
            self.idle.remove(upstream)

    def close_idle(self) -> None:
        for upstream in self.idle:
            upstream.transport.close()
        self.idle.clear()


class Lease:
    """One request aboard one engine: owns its share of the in-flight counts and its connection until closed, once."""

    __slots__ = ("ahead", "answered", "closed", "engine", "prompt_tokens", "started_s", "upstream")

    def __init__(self, engine: Engine, prompt_tokens: int) -> None:
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
        if upstream.streams:
            load.measure(self.ahead, upstream.heard_s - self.started_s)
            self.engine.measured_s = upstream.heard_s

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

    def __init__(self, route: ModelRoute, engines: tuple[Engine, ...]) -> None:
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

    def pick(self, prompt_tokens: int, tried: tuple[Engine, ...]) -> Engine | None:
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

    def has_other(self, tried: tuple[Engine, ...]) -> bool:
        """Whether there is an engine that was not tried."""
        return bool(self._others(tried))

    def _others(self, tried: tuple[Engine, ...]) -> list[Engine]:
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
        self._settings = settings
        self._health_settings = HealthSettings(settings.health_failures, settings.health_successes)
        self.models: list[LiveModel] = []
        self.by_name: dict[str, Served] = {}
        self.by_json: dict[bytes, Served] = {}
        """The same by the name as it stands in a body, quotes and all: most requests need not decode it."""
        self.engines: dict[str, Engine] = {}
        self.loaded = False

    def apply(self, table: Table) -> None:
        """Take over a new table. Engines that stay keep load, health and connections; the others finish."""
        engines: dict[str, Engine] = {}
        models = []
        for route in table.models:
            live = tuple(self._take_engine(endpoint, engines) for endpoint in route.endpoints)
            models.append(LiveModel(route, live))
        for engine_id, engine in self.engines.items():
            if engines.get(engine_id) is not engine:
                engine.removed = True
                engine.close_idle()
        self.engines = engines
        self.models = models
        self.by_name = _index_names(models)
        self.by_json = {msgspec.json.encode(name): served for name, served in self.by_name.items()}
        self.loaded = True

    def _take_engine(self, endpoint: Endpoint, engines: dict[str, Engine]) -> Engine:
        engine = engines.get(endpoint.id) or self.engines.get(endpoint.id)
        address = (endpoint.host, endpoint.port, endpoint.tls)
        if engine is None or (engine.endpoint.host, engine.endpoint.port, engine.endpoint.tls) != address:
            engine = Engine(endpoint, self._settings)
        elif engine.endpoint != endpoint:
            engine.point_to(endpoint)
        engines[endpoint.id] = engine
        return engine

    def see(self, engine: Engine, event: Event) -> None:
        """Tell an engine's health what happened; candidates follow when it changed."""
        before = engine.health
        after = health_policy.next_health(before, event, monotonic(), self._health_settings)
        if after is not before:
            self.set_health(engine, after)

    def set_health(self, engine: Engine, after: Health) -> None:
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
