"""The gateway's own pages: alive, ready, which models, metrics. Answered here, from what is in memory.

Does not forward anything (`batch` has /generate and /batch-generate). `resolve` finds a page, `flow` calls it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import msgspec

from remuda.gateway import answers
from remuda.gateway.cors import preflight_lines
from remuda.gateway.exchange import Exchange, Refused
from remuda.gateway.keys import Principal
from remuda.policy.outcome import Outcome
from remuda.vllm.routes import METHODS_BY_PATH

if TYPE_CHECKING:
    from remuda.gateway.app import Gateway
    from remuda.gateway.engines import LiveModel

Answer = Callable[["Gateway", Exchange, Principal], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Page:
    """One page. `open`: answered without a key."""

    name: str
    answer: Answer
    open: bool = False


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
        raise Refused(answers.model_not_found(name, [model.route.served_name for model in gateway.directory.models]))
    exchange.model_name = served.model.route.name
    if not served.model.ready:
        raise Refused(answers.model_not_ready(name, explain_wait(served.model)))
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

    exposition = render_exposition(gateway.ledger.snapshot(gateway), "")
    exchange.write_answer(200, b"content-type: %b\r\n" % exposition.content_type.encode(), exposition.body())
    return Outcome.COMPLETED


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
    raise Refused(answers.model_not_found(name, [str(name) for name in known]))


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


async def answer_options(gateway: "Gateway", exchange: Exchange, caller: Principal) -> Outcome:  # noqa: ARG001 - one shape
    """What a path takes; for browsers the preflight of CORS."""
    methods = ", ".join([*methods_of(exchange.head.path), "OPTIONS"]).encode()
    exchange.write_answer(204, b"allow: %b\r\n%b" % (methods, preflight_lines(exchange, methods)), b"")
    return Outcome.COMPLETED


def _name_after(path: bytes, prefix: bytes) -> str:
    return unquote_to_bytes(path[len(prefix) :]).decode("utf-8", "replace")


PAGES: Final[dict[tuple[bytes, bytes], Page]] = {
    (b"GET", b"/health"): Page("health", answer_health, open=True),
    (b"GET", b"/ready"): Page("ready", answer_ready, open=True),
    (b"GET", b"/metrics"): Page("metrics", answer_metrics),
    (b"GET", b"/v1/models"): Page("models", answer_models),
}
_UNDER: Final = (
    (b"/ready/", Page("ready", answer_model_ready, open=True)),
    (b"/v1/models/", Page("models", answer_model)),
)


_OPTIONS: Final = Page("options", answer_options, open=True)


def find_page(method: bytes, path: bytes) -> Page | None:
    """The page for this method and path; HEAD is GET without the body."""
    if method == b"OPTIONS":
        return _OPTIONS if path == b"*" or methods_of(path) else None
    wanted = b"GET" if method == b"HEAD" else method
    page = PAGES.get((wanted, path))
    if page is None and wanted == b"GET":
        for prefix, under in _UNDER:
            if path.startswith(prefix) and len(path) > len(prefix):
                return under
    return page


def methods_of(path: bytes) -> list[str]:
    """The methods a path takes: a page's, or a route's."""
    methods = {method.decode() for method, known in PAGES if known == path}
    methods |= set(METHODS_BY_PATH.get(path.decode("latin-1"), ()))
    if find_page(b"GET", path) is not None:
        methods |= {"GET", "HEAD"}
    return sorted(methods)
