"""Which route a request asks for: a route of the engines, or a page of the gateway's own. Everything else is refused.

Only exact paths match: nothing is decoded or normalised before the look-up, so no spelling of a path can trick it.
Does not know models, keys, or what a page answers.
"""

from typing import Final

from remuda.gateway.api import problems
from remuda.gateway.api.near import KnownNames
from remuda.gateway.api.problems import Refused
from remuda.vllm import routes as engine_routes
from remuda.vllm.routes import METHODS_BY_PATH, Route


class Page:
    """One page of the gateway's own. Two pages are the same only if they are the same object.

    `name` is the label in metrics and logs. `open` means that the page needs no API key.
    """

    __slots__ = ("name", "open")

    def __init__(self, name: str, *, open: bool = False) -> None:  # noqa: A002 - the word that users read
        self.name = name
        self.open = open


HEALTH: Final = Page("health", open=True)
READY: Final = Page("ready", open=True)
MODEL_READY: Final = Page("ready", open=True)
METRICS: Final = Page("metrics")
MODELS: Final = Page("models")
MODEL: Final = Page("models")
GENERATE: Final = Page("generate")
BATCH_GENERATE: Final = Page("batch_generate")
OPTIONS: Final = Page("options", open=True)

PAGES: Final[dict[tuple[bytes, bytes], Page]] = {
    (b"GET", b"/health"): HEALTH,
    (b"GET", b"/ready"): READY,
    (b"GET", b"/metrics"): METRICS,
    (b"GET", b"/v1/models"): MODELS,
    (b"POST", b"/generate"): GENERATE,
    (b"POST", b"/batch-generate"): BATCH_GENERATE,
}
"""(method, path) → page."""

_UNDER: Final = ((b"/ready/", MODEL_READY), (b"/v1/models/", MODEL))
"""(prefix, page): the rest of the path is a model's name."""

_FORWARDED: Final[dict[tuple[bytes, bytes], Route]] = {
    (method.encode(), path.encode()): route
    for (method, path), route in engine_routes.ROUTES.items()
    if route is not engine_routes.MODELS
}

_KNOWN_PATHS: Final = KnownNames([*METHODS_BY_PATH, *(path.decode() for _, path in PAGES)])


def resolve_route(method: bytes, path: bytes) -> Route | Page:
    """The route of the engines or the page at this path; `path` has no query. Refused says what there is instead."""
    asked = (method, path)
    known = _FORWARDED.get(asked) or find_page(method, path)
    if known is not None:
        return known
    raise Refused(_explain_miss(method.decode("latin-1"), path.decode("latin-1")))


def find_page(method: bytes, path: bytes) -> Page | None:
    """The page for this method and path. HEAD finds the page of GET."""
    if method == b"OPTIONS":
        return OPTIONS if path == b"*" or methods_of(path) else None
    wanted = b"GET" if method == b"HEAD" else method
    page = PAGES.get((wanted, path))
    if page is None and wanted == b"GET":
        for prefix, under in _UNDER:
            if path.startswith(prefix) and len(path) > len(prefix):
                return under
    return page


def methods_of(path: bytes) -> list[str]:
    """The methods that this path takes, sorted; empty for an unknown path."""
    methods = {method.decode() for method, known in PAGES if known == path}
    methods |= set(METHODS_BY_PATH.get(path.decode("latin-1"), ()))
    if find_page(b"GET", path) is not None:
        methods |= {"GET", "HEAD"}
    return sorted(methods)


def _explain_miss(method: str, path: str) -> problems.Problem:
    allowed = methods_of(path.encode("latin-1"))
    if allowed:
        return problems.method_not_allowed(method, path, allowed)
    refused = engine_routes.find_refused_route(method, path)
    if refused is not None:
        return problems.Problem(problems.Code.STATEFUL_NOT_SUPPORTED, f"{refused.reason}; {refused.hint}")
    problem = problems.route_not_found(method, path)
    near = _KNOWN_PATHS.find_near(path)
    if not near:
        return problem
    return problems.Problem(problem.code, f"{problem.message} Did you mean {' or '.join(near)}?")
