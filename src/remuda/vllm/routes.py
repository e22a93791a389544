"""The engine routes a gateway may forward, and where each carries the model's name.

An allow-list: what is not named here never reaches an engine. vLLM serves adapter loading, sleeping, scaling,
aborting, profiling and cache resets on the same port as inference; none of them is here. Does not know the
gateway's own routes (`/health`, `/generate`, …). The gateway calls `pick_route` once per request.

Verified against the route tables of vLLM 0.32.0 (generate, pooling and speech-to-text runners).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

BodyKind = Literal["json", "multipart", "none"]
ModelPlace = Literal["body", "form", "none"]
Capability = Literal["chat", "completion", "embedding", "rerank", "classify", "score", "transcription", "any"]


@dataclass(frozen=True, slots=True)
class Route:
    """One forwardable route. Values are fixed; the gateway compares routes by identity or by `name`."""

    name: str
    """Short stable name: a metric label and a log field."""
    method: str
    path: str
    kind: BodyKind
    """What the request body is."""
    capability: Capability
    """What a model must be able to do to be asked; `any`: every model has this route."""
    streams: bool
    """The client may ask for server-sent events with `"stream": true`."""
    model_in: ModelPlace
    """Where the model's name stands: JSON body, multipart form field `model`, or nowhere."""
    generates: bool = False
    """Answers by decoding tokens, so that n, max_tokens and the like apply."""


@dataclass(frozen=True, slots=True)
class RefusedRoute:
    """A route clients know from elsewhere and may try: answered by the gateway with the reason."""

    method: str
    path: str
    status: int
    reason: str
    hint: str


def _post(name: str, path: str, capability: Capability, *, streams: bool = False, generates: bool = False) -> Route:
    return Route(name, "POST", path, "json", capability, streams, "body", generates)


def _audio(name: str, path: str) -> Route:
    return Route(name, "POST", path, "multipart", "transcription", True, "form", True)


MODELS: Final = Route("models", "GET", "/v1/models", "none", "any", False, "none")
"""Answered by the gateway from its own table (models of all engines merged); listed so that the path is known."""

_ALL: Final = (
    _post("chat", "/v1/chat/completions", "chat", streams=True, generates=True),
    _post("completions", "/v1/completions", "completion", streams=True, generates=True),
    _post("responses", "/v1/responses", "chat", streams=True, generates=True),
    _post("messages", "/v1/messages", "chat", streams=True, generates=True),
    _post("count_tokens", "/v1/messages/count_tokens", "chat"),
    _post("embeddings", "/v1/embeddings", "embedding"),
    _post("tokenize", "/tokenize", "any"),
    _post("detokenize", "/detokenize", "any"),
    _post("score", "/score", "score"),
    _post("score", "/v1/score", "score"),
    _post("rerank", "/rerank", "rerank"),
    _post("rerank", "/v1/rerank", "rerank"),
    _post("rerank", "/v2/rerank", "rerank"),
    _post("classify", "/classify", "classify"),
    _post("pooling", "/pooling", "embedding"),
    _audio("transcriptions", "/v1/audio/transcriptions"),
    _audio("translations", "/v1/audio/translations"),
    MODELS,
)

ROUTES: Final[Mapping[tuple[str, str], Route]] = {(route.method, route.path): route for route in _ALL}
"""(method, exact path) → route. No path here has a variable part, so one dict look-up decides."""

METHODS_BY_PATH: Final[Mapping[str, tuple[str, ...]]] = {
    route.path: tuple(sorted(other.method for other in _ALL if other.path == route.path)) for route in _ALL
}
"""path → methods it takes: the difference between 404 and 405 (with its `Allow` header)."""

_STATELESS_REASON: Final = "responses are not stored: any engine may answer the next request, and engines come and go"
_STATELESS_HINT: Final = "send the whole conversation in `input` and leave out `previous_response_id`"

REFUSED_ROUTES: Final[Mapping[tuple[str, str], RefusedRoute]] = {
    (method, path): RefusedRoute(method, path, 501, _STATELESS_REASON, _STATELESS_HINT)
    for method, path in (
        ("GET", "/v1/responses/{id}"),
        ("DELETE", "/v1/responses/{id}"),
        ("POST", "/v1/responses/{id}/cancel"),
        ("GET", "/v1/responses/{id}/input_items"),
    )
}
"""Stateful use of the Responses API, by pattern; `find_refused_route` matches a real path against it."""


def pick_route(method: str, path: str) -> Route | None:
    """The route for this method and path (no query string), or None when it must not be forwarded."""
    return ROUTES.get((method, path))


def find_refused_route(method: str, path: str) -> RefusedRoute | None:
    """Say why a known stateful route is not served; None when the path is simply unknown."""
    prefix = "/v1/responses/"
    if not path.startswith(prefix):
        return None
    rest = path[len(prefix) :].rstrip("/").split("/")
    pattern = "/".join([prefix + "{id}", *rest[1:]])
    return REFUSED_ROUTES.get((method, pattern))
