"""Which route a head asks for: one of the engines', or a page of our own. The rest is refused, with what there is.

Only exact paths pass: nothing is decoded or normalised before the look-up, so there is nothing to trick. Does not know
models. Called by `flow`.
"""

from typing import TYPE_CHECKING, Final

from remuda.gateway.access.keys import Principal
from remuda.gateway.api import problems
from remuda.gateway.api.pages import (
    Page,
    answer_health,
    answer_metrics,
    answer_model,
    answer_model_ready,
    answer_models,
    answer_ready,
)
from remuda.gateway.http.cors import preflight_lines
from remuda.gateway.http.exchange import Exchange, Refused
from remuda.gateway.http.head import RequestHead
from remuda.gateway.serving.generate import answer_batch, answer_generate
from remuda.policy.outcome import Outcome
from remuda.vllm import routes as engine_routes
from remuda.vllm.routes import METHODS_BY_PATH, Route

if TYPE_CHECKING:
    from remuda.gateway.app import Gateway

_FORWARDED: Final[dict[tuple[bytes, bytes], Route]] = {
    (method.encode(), path.encode()): route
    for (method, path), route in engine_routes.ROUTES.items()
    if route is not engine_routes.MODELS
}


async def answer_options(gateway: "Gateway", exchange: Exchange, caller: Principal) -> Outcome:  # noqa: ARG001 - one shape
    """What a path takes; for browsers the preflight of CORS."""
    methods = ", ".join([*methods_of(exchange.head.path), "OPTIONS"]).encode()
    exchange.write_answer(204, b"allow: %b\r\n%b" % (methods, preflight_lines(exchange, methods)), b"")
    return Outcome.COMPLETED


PAGES: Final[dict[tuple[bytes, bytes], Page]] = {
    (b"GET", b"/health"): Page("health", answer_health, open=True),
    (b"GET", b"/ready"): Page("ready", answer_ready, open=True),
    (b"GET", b"/metrics"): Page("metrics", answer_metrics),
    (b"GET", b"/v1/models"): Page("models", answer_models),
    (b"POST", b"/generate"): Page("generate", answer_generate),
    (b"POST", b"/batch-generate"): Page("batch_generate", answer_batch),
}
"""(method, path) → page of our own."""
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


def resolve_route(head: RequestHead) -> Route | Page:
    """The route, or a page of our own; refuses everything else with what there is instead."""
    known = head.route
    if known is None:
        asked = (head.method, head.path)
        known = head.route = _FORWARDED.get(asked) or find_page(*asked)
    if known is not None:
        return known
    raise Refused(_explain_miss(head.method.decode("latin-1"), head.path.decode("latin-1")))


def _explain_miss(method: str, path: str) -> problems.Problem:
    allowed = methods_of(path.encode("latin-1"))
    if allowed:
        return problems.method_not_allowed(method, path, allowed)
    refused = engine_routes.find_refused_route(method, path)
    if refused is not None:
        return problems.Problem(problems.Code.STATEFUL_NOT_SUPPORTED, f"{refused.reason}; {refused.hint}")
    problem = problems.route_not_found(method, path)
    near = _find_near(path)
    if not near:
        return problem
    return problems.Problem(problem.code, f"{problem.message} Did you mean {' or '.join(near)}?")


def _find_near(path: str) -> list[str]:
    import difflib

    known = [*METHODS_BY_PATH, *(page.decode() for _, page in PAGES)]
    return difflib.get_close_matches(path[:200], sorted(set(known)), n=2, cutoff=0.6)
