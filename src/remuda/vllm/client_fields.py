"""Which request fields a client may not set unless the operator allows it, each with its reason.

vLLM takes far more in a request than the OpenAI API names: fields that jump the queue, read another client's
cache, make the engine fetch addresses, or run a template of the client's own. Pure tables and predicates; the
gateway looks a field up after it has parsed the body and answers 400 with `reason`. Does not know tenants or
settings: `allow` and `deny` of `ModelGateway.clientFields` are applied by `decide_denied_fields`.

Verified against the request classes of vLLM 0.32.0.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class FieldRule:
    """One denied top-level field. `harmless(value)` is true for a value that changes nothing."""

    field: str
    reason: str
    harmless: Callable[[object], bool]
    routes: frozenset[str] | None = None
    """Names of routes (routes.Route.name) it concerns; None: all."""


def _is_none(value: object) -> bool:
    return value is None


def _is_falsy(value: object) -> bool:
    return not value


def _rule(field: str, reason: str, harmless: Callable[[object], bool] = _is_none, *routes: str) -> FieldRule:
    return FieldRule(field, reason, harmless, frozenset(routes) or None)


_STATEFUL: Final = "responses are not stored: any engine may answer the next request"

DENIED_FIELDS: Final[Mapping[str, FieldRule]] = {
    rule.field: rule
    for rule in (
        # Other clients' service
        _rule("priority", "the order of the queue is the operator's: a client could put itself first", _is_falsy),
        _rule("request_id", "the id names the request inside the engine: two alike collide; send X-Request-Id"),
        _rule("session_id", "ties the request to state inside one engine"),
        # Other clients' data
        _rule("cache_salt", "decides whose cached prefixes are shared; the gateway sets it per tenant"),
        _rule("kv_transfer_params", "addresses KV caches of other requests and other engines"),
        _rule("ec_transfer_params", "addresses encoder caches of other requests and other engines"),
        # Code and data inside the engine
        _rule("prompt_embeds", "raw tensors are unpickled and run inside the engine", _is_none),
        _rule("mm_payload", "raw processed media bypasses the engine's own checks"),
        _rule("chat_template", "a template is a program the engine would run for the client"),
        _rule("mm_processor_kwargs", "changes how media is processed for this engine: size and time without a bound"),
        _rule("media_io_kwargs", "changes how media is read: frames and sizes without a bound"),
        _rule("vllm_xargs", "free arguments for engine plug-ins"),
        # What the gateway itself needs to keep streams exact
        _rule("routed_experts_prompt_start", "returns the engine's internal routing"),
        _rule("return_mm_kwargs", "returns processed media tensors", _is_falsy),
        _rule(
            "stream_interval",
            "changes how tokens are grouped into events; the gateway relies on one event per step",
        ),
        # Stateful use of the Responses API
        _rule("previous_response_id", _STATEFUL, _is_none, "responses"),
        _rule("store", _STATEFUL, _is_falsy, "responses"),
        _rule("background", _STATEFUL, _is_falsy, "responses"),
        _rule("conversation", _STATEFUL, _is_none, "responses"),
        _rule("previous_input_messages", _STATEFUL, _is_none, "responses"),
        _rule("prompt", "stored prompts are not kept here; send the text in `input`", _is_none, "responses"),
    )
}
"""field → rule. `store: false`, `priority: 0`, `null` pass: they ask for nothing."""

N_MAX: Final = 16
"""Largest `n` (and `best_of`) a client may ask for: each is a whole sequence in the batch. OpenAI allows 128;
16 keeps one request from filling more than a sixteenth of the default batch of 256."""

BOUNDED_FIELDS: Final[Mapping[str, int]] = {
    "n": N_MAX,
    "best_of": N_MAX,
    "top_logprobs": 20,
    "prompt_logprobs": 20,
}
"""field → largest value. vLLM's own bound on logprobs is 20; its bound on n is 16384."""

MEDIA_URL_KEYS: Final = (b'"image_url"', b'"video_url"', b'"audio_url"', b'"file_url"')
"""Byte marks of content parts that may carry an address; absent from a body = no media, nothing more to check."""

MEDIA_URL_REASON: Final = "the engine would fetch this address from inside the operator's network"
MEDIA_URL_HINT: Final = "send the media inline as a data: URL"
_MEDIA_KEYS: Final = frozenset({"image_url", "video_url", "audio_url", "file_url", "source"})


@dataclass(frozen=True, slots=True)
class DeniedField:
    """One field of one request that may not be forwarded."""

    field: str
    reason: str
    hint: str


def decide_denied_fields(
    fields: Mapping[str, object], route_name: str, allow: Collection[str] = (), deny: Collection[str] = ()
) -> DeniedField | None:
    """Find the first top-level field of a parsed body that this client may not set; None when all pass.

    `fields` needs only the top level, and only values of denied and bounded fields are looked at. `allow` lifts a
    rule, `deny` adds a field; deny wins.
    """
    for field in fields:
        if field in deny:
            return DeniedField(field, "this server does not take the field", f"leave `{field}` out")
        if field in allow:
            continue
        rule = DENIED_FIELDS.get(field)
        if rule is not None and (rule.routes is None or route_name in rule.routes) and not rule.harmless(fields[field]):
            return DeniedField(field, rule.reason, f"leave `{field}` out, or ask the operator to allow it")
        bound = BOUNDED_FIELDS.get(field)
        value = fields[field]
        if bound is not None and isinstance(value, int) and value > bound:
            return DeniedField(field, f"{field}={value} is more than {bound}", f"ask for at most {bound}")
    return None


def find_media_urls(body: object) -> Iterator[str]:
    """Every media address in a parsed body that is not inline (`data:`), wherever it stands.

    Walks the whole JSON value with an explicit stack, so a deep body cannot exhaust the interpreter's own. Knows the
    OpenAI forms (`image_url: "…"` and `image_url: {url: "…"}`) and Anthropic's (`source: {type: url, url: "…"}`).
    """
    stack = [body]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, Mapping):
            for key, value in node.items():
                if key in _MEDIA_KEYS:
                    address = value.get("url") if isinstance(value, Mapping) else value
                    if isinstance(address, str) and not address.startswith("data:"):
                        yield address
                if isinstance(value, Mapping | list):
                    stack.append(value)
