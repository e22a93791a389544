"""Which parts of a request a client may not set unless the operator allows it, each with its reason.

vLLM takes far more in a request than the OpenAI API names: fields that jump the queue, read another client's cache,
make the engine fetch addresses, or run a template of the client's own. The same tables hold for a JSON body, for the
fields of a form and for what the gateway translates itself. Pure tables and predicates: this module does not parse a
body and does not know tenants or settings.

Verified against the request classes of vLLM 0.32.0.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

# ---- how the engine reads a value


def read_number(value: object) -> float | None:
    """The number that the engine may read in a value; None when it cannot read one.

    The engine's request classes (pydantic, lax mode) take 16, 16.0, true, "16", " 16 ", "1_6" and "16.0" for 16. This
    function reads all of these, and some spellings that pydantic refuses; it never reads a smaller number. A value
    that is neither null, a text nor a number counts as infinite: no rule looks into it.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _read_text_number(value.strip().replace("_", ""))
    return float(value) if isinstance(value, int | float) else float("inf")


def _read_text_number(text: str) -> float | None:
    for spelling in (text, text.lstrip("0")):  # pydantic skips zeros even in front of a sign: "0_-7" is -7
        try:
            return float(spelling)
        except ValueError:
            continue
    return None


_TRUE: Final = frozenset({"1", "on", "t", "true", "y", "yes"})
_FALSE: Final = frozenset({"0", "off", "f", "false", "n", "no"})


def read_flag(value: object) -> bool | None:
    """The boolean that the engine reads in a value (pydantic, lax mode); None when it cannot read one."""
    if isinstance(value, str):
        word = value.lower()
        return True if word in _TRUE else False if word in _FALSE else None
    if value == 1:
        return True
    return False if value == 0 else None


# ---- top-level fields


@dataclass(frozen=True, slots=True)
class FieldRule:
    """One denied top-level field. `harmless(value)` is true for a value that changes nothing."""

    field: str
    reason: str
    harmless: Callable[[object], bool]
    routes: frozenset[str] | None = None
    """Names of the routes (routes.Route.name) that the rule concerns; None: all."""


def _is_none(value: object) -> bool:
    return value is None


def _is_off(value: object) -> bool:
    return not value or read_flag(value) is False


def _is_on(value: object) -> bool:
    return value is None or read_flag(value) is True


def _rule(field: str, reason: str, harmless: Callable[[object], bool] = _is_none, *routes: str) -> FieldRule:
    return FieldRule(field, reason, harmless, frozenset(routes) or None)


_STATEFUL: Final = "responses are not stored: any engine may answer the next request"

DENIED_FIELDS: Final[Mapping[str, FieldRule]] = {
    rule.field: rule
    for rule in (
        # Other clients' service
        _rule("priority", "the order of the queue is the operator's: a client could put itself first", _is_off),
        _rule("request_id", "the id names the request inside the engine: two alike collide; send X-Request-Id"),
        _rule("session_id", "ties the request to state inside one engine"),
        # Other clients' data
        _rule("cache_salt", "decides whose cached prefixes are shared; the gateway sets it per tenant"),
        _rule("kv_transfer_params", "addresses KV caches of other requests and other engines"),
        _rule("ec_transfer_params", "addresses encoder caches of other requests and other engines"),
        # Code and data inside the engine
        _rule("prompt_embeds", "raw tensors are unpickled and run inside the engine"),
        _rule("mm_payload", "raw processed media bypasses the engine's own checks"),
        _rule("chat_template", "a template is a program the engine would run for the client"),
        _rule("mm_processor_kwargs", "changes how media is processed for this engine: size and time without a bound"),
        _rule("media_io_kwargs", "changes how media is read: frames and sizes without a bound"),
        _rule("vllm_xargs", "free arguments for engine plug-ins"),
        # What the operator and the gateway rely on
        _rule("watermarking", "whether answers carry the operator's watermark is the operator's decision", _is_on),
        _rule("routed_experts_prompt_start", "returns the engine's internal routing"),
        _rule("return_mm_kwargs", "returns processed media tensors", _is_off),
        _rule(
            "stream_interval",
            "changes how tokens are grouped into events; the gateway relies on one event per step",
        ),
        # Stateful use of the Responses API
        _rule("previous_response_id", _STATEFUL, _is_none, "responses"),
        _rule("store", _STATEFUL, _is_off, "responses"),
        _rule("background", _STATEFUL, _is_off, "responses"),
        _rule("conversation", _STATEFUL, _is_none, "responses"),
        _rule("previous_input_messages", _STATEFUL, _is_none, "responses"),
        _rule("prompt", "stored prompts are not kept here; send the text in `input`", _is_none, "responses"),
    )
}
"""field → rule. `store: false`, `priority: 0`, `null` pass: they ask for nothing."""

STATEFUL_FIELDS: Final = frozenset({"previous_response_id", "conversation", "previous_input_messages"})
"""Denied fields that refer to a stored response."""

N_MAX: Final = 16
"""Largest `n` (and `best_of`) a client may ask for: each is a whole sequence in the batch. OpenAI allows 128;
16 keeps one request from filling more than a sixteenth of the default batch of 256."""

SEQUENCES_MAX: Final = 256
"""Most sequences that one request may decode: its prompts times `n`. An engine decodes 256 sequences at once by
default (max_num_seqs), so a request for more would fill the whole batch more than once while others wait. Inputs of
embeddings, scores and the like decode nothing and are not counted."""

SEQUENCES: Final = "sequences"
"""The name under which an operator allows more sequences than SEQUENCES_MAX."""

_LOGPROBS_MAX: Final = 20
"""vLLM's own bound on logprobs; -1 would ask for the whole vocabulary."""

BOUNDED_FIELDS: Final[Mapping[str, int]] = {
    "n": N_MAX,
    "best_of": N_MAX,
    "logprobs": _LOGPROBS_MAX,
    "top_logprobs": _LOGPROBS_MAX,
    "prompt_logprobs": _LOGPROBS_MAX,
}
"""field → largest value; the smallest is 0. vLLM's bound on n is 16384."""


@dataclass(frozen=True, slots=True)
class DeniedField:
    """One field of one request that may not be forwarded. `out_of_bounds`: another value would pass."""

    field: str
    reason: str
    hint: str
    out_of_bounds: bool = False


def decide_denied_fields(
    fields: Mapping[str, object], route_name: str, allow: Collection[str] = (), deny: Collection[str] = ()
) -> DeniedField | None:
    """Find the first top-level field that this client may not set; None when all pass.

    Values are as JSON decodes them, or the texts of a form. Only values of denied and bounded fields are looked at.
    `allow` lifts a rule, `deny` adds a field; deny wins.
    """
    for field, value in fields.items():
        if field in deny:
            return DeniedField(field, "this server does not take the field", f"leave `{field}` out")
        if field in allow:
            continue
        rule = DENIED_FIELDS.get(field)
        if rule is not None and (rule.routes is None or route_name in rule.routes) and not rule.harmless(value):
            return DeniedField(field, rule.reason, f"leave `{field}` out, or ask the operator to allow it")
        most = BOUNDED_FIELDS.get(field)
        number = None if most is None else read_number(value)
        if most is not None and number is not None and not 0 <= number <= most:
            return DeniedField(field, f"{number:g} is not a number from 0 to {most}", f"ask for at most {most}", True)
    return None


def decide_sequences(prompts: int, n: int, allow: Collection[str] = ()) -> DeniedField | None:
    """Why a request may not decode `n` sequences for each of `prompts` prompts; None when it may.

    Prompts need not be counted further than SEQUENCES_MAX and one more.
    """
    if SEQUENCES in allow:
        return None
    sequences = prompts if "n" in allow else prompts * max(n, 1)
    if sequences <= SEQUENCES_MAX:
        return None
    made = f"{prompts} prompts with n={n} make {sequences} sequences"
    if prompts > SEQUENCES_MAX:
        made = f"there are more than {SEQUENCES_MAX} prompts"
    reason = f"{made}, and one request may have {SEQUENCES_MAX} sequences"
    return DeniedField("prompt", reason, "send several requests", True)


# ---- parts of messages

ADDRESS_KEYS: Final = frozenset({"image_url", "video_url", "audio_url", "file_url"})
"""Keys of content parts that hold an address, alone or as `{"url": …}`."""

SOURCE_KEY: Final = "source"
"""Anthropic's: an address stands in `{"type": "url", "url": …}` under this key."""

SOURCE_ROUTES: Final = frozenset({"messages", "count_tokens"})
"""Names of the routes where `source` has that meaning."""

EMBEDS: Final = frozenset({"prompt_embeds", "image_embeds", "audio_embeds", "video_embeds"})
"""Names of content parts that hold raw tensors. A part is one of these if its `type`, or one of its keys, has such a
name."""

UUID_KEY: Final = "uuid"

MEDIA_KEYS: Final = ADDRESS_KEYS | EMBEDS | {"image_pil", "input_audio"}
"""Keys that make a content part a part with media, whatever its `type` says."""

MEDIA_URLS: Final = "media_urls"
"""The name under which an operator allows addresses in media parts."""

URL_REASON: Final = "the engine would fetch this address from inside the operator's network"
URL_HINT: Final = "send the media inline as a data: URL"
UUID_REASON: Final = "the engine would answer with the media that another client sent under this uuid"
UUID_HINT: Final = "leave `uuid` out and send the media itself"
EMBEDS_REASON: Final = "raw tensors bypass the engine's own checks of its input"
EMBEDS_HINT: Final = "send the media itself, or ask the operator to allow it"
