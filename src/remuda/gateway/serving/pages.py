"""The answers of the gateway's own pages, from what is in memory: health, readiness, models, metrics, OPTIONS.

The module does not know which path a page has (`api.routes` does).
"""

import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

import remuda
from remuda.gateway.access.admission import Admission
from remuda.gateway.access.identify import Identifier
from remuda.gateway.access.keys import Principal
from remuda.gateway.api import problems, routes
from remuda.gateway.api.problems import Refused
from remuda.gateway.api.routes import Page
from remuda.gateway.http.clients import Clients
from remuda.gateway.http.cors import preflight_lines
from remuda.gateway.http.exchange import Exchange
from remuda.gateway.record.ledger import Ledger, Series
from remuda.gateway.record.log_writer import LogWriter
from remuda.gateway.record.record import Record
from remuda.gateway.serving.choose import list_visible
from remuda.gateway.serving.directory import Directory
from remuda.gateway.serving.generate import Generator
from remuda.gateway.serving.live_model import LiveModel
from remuda.observe import metrics
from remuda.observe.figures import FigureBoard
from remuda.policy.health import State
from remuda.policy.outcome import Outcome

_DRAINING: Final = "the gateway is shutting down"

Answer = Callable[[Exchange, Record, Principal], Awaitable[Outcome]]


@dataclass(frozen=True)
class Sources:
    """Everything that the pages show."""

    directory: Directory
    ledger: Ledger
    admission: Admission
    identifier: Identifier
    clients: Clients
    log_writer: LogWriter
    board: FigureBoard
    """Figures that another process counts."""


class Pages:
    """Answers every page."""

    def __init__(self, sources: Sources, generator: Generator) -> None:
        self._sources = sources
        self._directory = sources.directory
        self._answers: dict[Page, Answer] = {
            routes.HEALTH: self._answer_health,
            routes.READY: self._answer_ready,
            routes.MODEL_READY: self._answer_model_ready,
            routes.METRICS: self._answer_metrics,
            routes.MODELS: self._answer_models,
            routes.MODEL: self._answer_model,
            routes.GENERATE: generator.answer,
            routes.BATCH_GENERATE: generator.answer_batch,
            routes.OPTIONS: self._answer_options,
        }

    def answer(self, page: Page, exchange: Exchange, record: Record, caller: Principal) -> Awaitable[Outcome]:
        """Answer this page; the outcome."""
        return self._answers[page](exchange, record, caller)

    async def _answer_health(self, exchange: Exchange, record: Record, caller: Principal) -> Outcome:  # noqa: ARG002
        """The process is alive. Says nothing about engines: restarting the gateway would not help them."""
        exchange.write_json(200, b'{"status":"ok"}')
        return Outcome.COMPLETED

    async def _answer_ready(self, exchange: Exchange, record: Record, caller: Principal) -> Outcome:  # noqa: ARG002
        """Whether every model has an engine; which have not, and why. Names are told to who may use the models."""
        models = self._directory.models
        waiting = {model.route.served_name: model.explain_wait() for model in models if not model.ready}
        if not self._directory.loaded:
            waiting = {"*": "the gateway has not been told its models yet"}
        if self._sources.clients.draining:
            waiting = {"*": _DRAINING}
        status = "waiting" if waiting else "ready"
        body: dict[str, object] = {"status": status}
        if caller.known:
            ready = [model.route.served_name for model in models if model.ready]
            body |= {
                "ready": [name for name in ready if caller.may_use(name)],
                "waiting": {name: why for name, why in waiting.items() if name == "*" or caller.may_use(name)},
            }
        exchange.write_json(503 if waiting else 200, msgspec.json.encode(body))
        return Outcome.NO_ENDPOINT if waiting else Outcome.COMPLETED

    async def _answer_model_ready(self, exchange: Exchange, record: Record, caller: Principal) -> Outcome:
        """Whether one model has an engine. Probes send no key, so whoever knows the name may ask this much."""
        name = _name_after(exchange.head.path, b"/ready/")
        served = self._directory.find(name)
        if served is None:
            visible = list_visible(self._directory, caller) if caller.known else None
            raise Refused(problems.model_not_found(name, visible))
        record.model_name = served.model.route.name
        trusted = caller.may_use(served.canonical)
        if self._sources.clients.draining:
            raise Refused(problems.model_not_ready(name, _DRAINING))
        if not served.model.ready:
            why = served.model.explain_wait() if trusted else "a request with a key that may use it is told why"
            raise Refused(problems.model_not_ready(name, why))
        answer = {"status": "ready", "model": served.canonical if trusted else name}
        exchange.write_json(200, msgspec.json.encode(answer))
        return Outcome.COMPLETED

    async def _answer_metrics(self, exchange: Exchange, record: Record, caller: Principal) -> Outcome:  # noqa: ARG002
        from remuda.observe.exposition import render_exposition

        exposition = render_exposition(read_figures(self._sources), _accepts(exchange))
        exchange.write_answer(200, b"content-type: %b\r\n" % exposition.content_type.encode(), exposition.body())
        return Outcome.COMPLETED

    async def _answer_models(self, exchange: Exchange, record: Record, caller: Principal) -> Outcome:  # noqa: ARG002
        """All models of all engines, in OpenAI's shape, as far as the caller may use them."""
        data = [entry for model in self._directory.models for entry in _list_names(model, caller)]
        exchange.write_json(200, msgspec.json.encode({"object": "list", "data": data}))
        return Outcome.COMPLETED

    async def _answer_model(self, exchange: Exchange, record: Record, caller: Principal) -> Outcome:  # noqa: ARG002
        name = _name_after(exchange.head.path, b"/v1/models/")
        entries = [entry for model in self._directory.models for entry in _list_names(model, caller)]
        for entry in entries:
            if entry["id"] == name:
                exchange.write_json(200, msgspec.json.encode(entry))
                return Outcome.COMPLETED
        raise Refused(problems.model_not_found(name, [str(entry["id"]) for entry in entries]))

    async def _answer_options(self, exchange: Exchange, record: Record, caller: Principal) -> Outcome:  # noqa: ARG002
        """The methods that a path takes; for browsers the preflight of CORS."""
        methods = ", ".join([*routes.methods_of(exchange.head.path), "OPTIONS"]).encode()
        preflight = preflight_lines(exchange.extra_lines, exchange.head.forwarded, methods)
        exchange.write_answer(204, b"allow: %b\r\n%b" % (methods, preflight), b"")
        return Outcome.COMPLETED


def _accepts(exchange: Exchange) -> str:
    """The Accept header. The head keeps it among the lines for engines, because no other page needs it."""
    pairs = (line.partition(b":") for line in exchange.head.forwarded)
    return ",".join(value.decode("latin-1") for name, _, value in pairs if name.lower() == b"accept")


def _list_names(model: LiveModel, caller: Principal) -> list[dict[str, object]]:
    route = model.route
    names = [(route.served_name, None), *((alias, route.served_name) for alias in route.aliases)]
    if not caller.may_use(route.served_name):
        names = []
    names += [(adapter, route.served_name) for adapter in route.adapters if caller.may_use(adapter)]
    return [_describe(model, name, parent) for name, parent in names]


def _describe(model: LiveModel, name: str, parent: str | None) -> dict[str, object]:
    route = model.route
    return {
        "id": name,
        "object": "model",
        "created": route.created_at,
        "owned_by": "remuda",
        "root": route.served_name,
        "parent": parent,
        "max_model_len": route.max_model_len,
        "capabilities": route.capabilities,
        "ready": model.ready,
    }


def _name_after(path: bytes, prefix: bytes) -> str:
    return unquote_to_bytes(path[len(prefix) :]).decode("utf-8", "replace")


# ---- metrics


def read_figures(sources: Sources) -> Series:
    """Everything that /metrics shows at this moment."""
    from remuda.machine.process_metrics import read_process

    values = sources.ledger.read_figures()
    for model in sources.directory.models:
        _put_engines(values, model)
    clients = sources.clients
    values[metrics.AUTHENTICATION_FAILURES] = {
        (reason,): count for reason, count in sources.identifier.refused_keys.items()
    }
    values[metrics.CLIENT_CONNECTIONS][()] = len(clients.links)
    values[metrics.CLIENT_CONNECTIONS_OPENED][()] = clients.opened
    values[metrics.CLIENT_CONNECTIONS_REFUSED][()] = clients.refused
    values[metrics.LOG_LINES_DROPPED][()] = sources.log_writer.dropped_lines
    values[metrics.TABLE_GENERATION][()] = sources.directory.generation
    values[metrics.BUILD][remuda.__version__, platform.python_version()] = 1
    for counted_elsewhere in (read_process(), sources.board.read(monotonic())):
        for metric, series in counted_elsewhere.items():
            values[metric].update(series)
    return values


def _put_engines(values: Series, model: LiveModel) -> None:
    name = model.route.name
    values[metrics.MODEL_READY][name,] = int(model.ready)
    values[metrics.REQUESTS_IN_FLIGHT][name,] = sum(engine.load.requests for engine in model.engines)
    for engine in model.engines:
        labels = (name, engine.endpoint.id)
        for state in (*(state.value for state in State), "draining"):
            values[metrics.ENDPOINT_STATE][*labels, state] = int(state == engine.state_name)
        values[metrics.ENDPOINT_EJECTIONS][labels] = engine.ejections
        values[metrics.ENDPOINT_REQUESTS_IN_FLIGHT][labels] = engine.load.requests
        values[metrics.ENDPOINT_WAITING_TOKENS][labels] = engine.load.waiting_tokens
        values[metrics.ENDPOINT_SPEED][labels] = engine.load.tokens_per_s
        values[metrics.ENDPOINT_CONNECTIONS][labels] = len(engine.pool.connections)
