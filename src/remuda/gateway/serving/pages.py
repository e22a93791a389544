"""The answers of the gateway's own pages, from what is in memory: health, readiness, models, metrics, OPTIONS.

Does not forward anything (`generate` does that for /generate and /batch-generate), and does not know which path a page
has (`api.routes` does).
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import msgspec

from remuda.gateway.access.keys import Principal
from remuda.gateway.api import problems, routes
from remuda.gateway.api.problems import Refused
from remuda.gateway.api.routes import Page
from remuda.gateway.http.cors import preflight_lines
from remuda.gateway.http.exchange import Exchange
from remuda.gateway.serving.generate import answer_batch, answer_generate
from remuda.policy.outcome import Outcome

if TYPE_CHECKING:
    from remuda.gateway.app import Gateway
    from remuda.gateway.serving.directory import LiveModel

Answer = Callable[["Gateway", Exchange, Principal], Awaitable[Outcome]]


async def answer_health(gateway: "Gateway", exchange: Exchange, caller: Principal) -> Outcome:  # noqa: ARG001 - one shape
    """The process is alive. Says nothing about engines: restarting the gateway would not help them."""
    exchange.write_json(200, b'{"status":"ok"}')
    return Outcome.COMPLETED


async def answer_ready(gateway: "Gateway", exchange: Exchange, caller: Principal) -> Outcome:  # noqa: ARG001 - one shape
    """Whether every model has an engine; which have not, and why."""
    models = gateway.directory.models
    waiting = {model.route.served_name: explain_wait(model) for model in models if not model.ready}
    if not gateway.directory.loaded:
        waiting = {"*": "the gateway has not been told its models yet"}
    ready = [model.route.served_name for model in models if model.ready]
    body = {"status": "waiting" if waiting else "ready", "ready": ready, "waiting": waiting}
    exchange.write_json(503 if waiting else 200, msgspec.json.encode(body))
    return Outcome.NO_ENDPOINT if waiting else Outcome.COMPLETED


async def answer_model_ready(gateway: "Gateway", exchange: Exchange, caller: Principal) -> Outcome:  # noqa: ARG001 - one shape
    name = _name_after(exchange.head.path, b"/ready/")
    served = gateway.directory.by_name.get(name)
    if served is None:
        raise Refused(problems.model_not_found(name, [model.route.served_name for model in gateway.directory.models]))
    exchange.model_name = served.model.route.name
    if not served.model.ready:
        raise Refused(problems.model_not_ready(name, explain_wait(served.model)))
    exchange.write_json(200, msgspec.json.encode({"status": "ready", "model": served.canonical}))
    return Outcome.COMPLETED


def explain_wait(model: "LiveModel") -> str:
    """Why a model has no engine, in words."""
    if model.route.waiting:
        return model.route.waiting
    if not model.engines:
        return "no engine has been started"
    if all(engine.draining for engine in model.engines):
        return "its engines are draining"
    return "its engines do not answer"


async def answer_metrics(gateway: "Gateway", exchange: Exchange, caller: Principal) -> Outcome:  # noqa: ARG001 - one shape
    from remuda.observe.exposition import render_exposition

    exposition = render_exposition(gateway.ledger.snapshot(gateway), _accepts(exchange))
    exchange.write_answer(200, b"content-type: %b\r\n" % exposition.content_type.encode(), exposition.body())
    return Outcome.COMPLETED


def _accepts(exchange: Exchange) -> str:
    """The Accept header; no other page has more than one format, so the head keeps it among what engines are sent."""
    pairs = (line.partition(b":") for line in exchange.head.forwarded)
    return ",".join(value.decode("latin-1") for name, _, value in pairs if name.lower() == b"accept")


async def answer_models(gateway: "Gateway", exchange: Exchange, caller: Principal) -> Outcome:
    """All models of all engines, in OpenAI's shape, as far as the caller may use them."""
    data = [entry for model in gateway.directory.models for entry in _list_names(model, caller)]
    exchange.write_json(200, msgspec.json.encode({"object": "list", "data": data}))
    return Outcome.COMPLETED


async def answer_model(gateway: "Gateway", exchange: Exchange, caller: Principal) -> Outcome:
    name = _name_after(exchange.head.path, b"/v1/models/")
    for model in gateway.directory.models:
        for entry in _list_names(model, caller):
            if entry["id"] == name:
                exchange.write_json(200, msgspec.json.encode(entry))
                return Outcome.COMPLETED
    known = [entry["id"] for model in gateway.directory.models for entry in _list_names(model, caller)]
    raise Refused(problems.model_not_found(name, [str(name) for name in known]))


def _list_names(model: "LiveModel", caller: Principal) -> list[dict[str, object]]:
    route = model.route
    names = [(route.served_name, None), *((alias, route.served_name) for alias in route.aliases)]
    if not caller.may_use(route.served_name):
        names = []
    names += [(adapter, route.served_name) for adapter in route.adapters if caller.may_use(adapter)]
    return [_describe(model, name, parent) for name, parent in names]


def _describe(model: "LiveModel", name: str, parent: str | None) -> dict[str, object]:
    route = model.route
    return {
        "id": name,
        "object": "model",
        "created": route.created_s,
        "owned_by": "remuda",
        "root": route.served_name,
        "parent": parent,
        "max_model_len": route.max_model_len,
        "capabilities": route.capabilities,
        "ready": model.ready,
    }


def _name_after(path: bytes, prefix: bytes) -> str:
    return unquote_to_bytes(path[len(prefix) :]).decode("utf-8", "replace")


async def answer_options(gateway: "Gateway", exchange: Exchange, caller: Principal) -> Outcome:  # noqa: ARG001 - one shape
    """The methods that a path takes; for browsers the preflight of CORS."""
    methods = ", ".join([*routes.methods_of(exchange.head.path), "OPTIONS"]).encode()
    preflight = preflight_lines(exchange.cors, exchange.head.forwarded, methods)
    exchange.write_answer(204, b"allow: %b\r\n%b" % (methods, preflight), b"")
    return Outcome.COMPLETED


ANSWERS: Final[dict[Page, Answer]] = {
    routes.HEALTH: answer_health,
    routes.READY: answer_ready,
    routes.MODEL_READY: answer_model_ready,
    routes.METRICS: answer_metrics,
    routes.MODELS: answer_models,
    routes.MODEL: answer_model,
    routes.GENERATE: answer_generate,
    routes.BATCH_GENERATE: answer_batch,
    routes.OPTIONS: answer_options,
}
"""page → the function that answers it."""
