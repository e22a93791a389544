"""The routes of an engine that a gateway may forward, and where each has the model's name.

This is an allow-list: a route that is not here never reaches an engine. vLLM serves adapter loading, sleeping, scaling,
aborting, profiling and cache resets on the same port as inference, and none of them is here. Does not know the
gateway's own routes (`/health`, `/generate`, …).

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
    """One route that may be forwarded."""

    name: str
    """A short stable name, used as a metric label and in logs. Several paths may share one."""
    method: str
    path: str
    kind: BodyKind
    """The form of the request body."""
    capability: Capability
    """What a model must be able to do to get such a request; `any`: every model can."""
    streams: bool
    """The client may ask for server-sent events with `"stream": true`."""
    model_in: ModelPlace
    """Where the model's name stands: in the JSON body, in the field `model` of a form, or nowhere."""
    generates: bool = False
    """The engine answers by decoding tokens, so `n`, `max_tokens` and the like apply."""


@dataclass(frozen=True, slots=True)
class RefusedRoute:
    """A route that clients of other servers know. The gateway answers with the reason why it is not served."""

    method: str
    path: str
    reason: str
    hint: str


def _post(name: str, path: str, capability: Capability, *, streams: bool = False, generates: bool = False) -> Route:
    return Route(name, "POST", path, "json", capability, streams, "body", generates)


def _audio(name: str, path: str) -> Route:
    return Route(name, "POST", path, "multipart", "transcription", True, "form", True)


MODELS: Final = Route("models", "GET", "/v1/models", "none", "any", False, "none")
"""The gateway answers it itself, with the models of all engines. It is listed so that the path is known."""

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
"""(method, exact path) → route. No path has a variable part, so one look-up decides."""

METHODS_BY_PATH: Final[Mapping[str, tuple[str, ...]]] = {
    route.path: tuple(sorted(other.method for other in _ALL if other.path == route.path)) for route in _ALL
}
"""path → the methods that it takes, for the `Allow` header of a 405."""

_STATELESS_REASON: Final = "responses are not stored: any engine may answer the next request, and engines come and go"
_STATELESS_HINT: Final = "send the whole conversation in `input` and leave out `previous_response_id`"

REFUSED_ROUTES: Final[Mapping[tuple[str, str], RefusedRoute]] = {
    (method, path): RefusedRoute(method, path, _STATELESS_REASON, _STATELESS_HINT)
    for method, path in (
        ("GET", "/v1/responses/{id}"),
        ("DELETE", "/v1/responses/{id}"),
        ("POST", "/v1/responses/{id}/cancel"),
        ("GET", "/v1/responses/{id}/input_items"),
    )
}
"""Routes of the Responses API that need a stored response, by pattern. See `find_refused_route`."""


def find_refused_route(method: str, path: str) -> RefusedRoute | None:
    """The refused route that this path matches; None when the path is unknown."""
    prefix = "/v1/responses/"
    if not path.startswith(prefix):
        return None
    rest = path[len(prefix) :].rstrip("/").split("/")
    pattern = "/".join([prefix + "{id}", *rest[1:]])
    return REFUSED_ROUTES.get((method, pattern))
