"""What a request asks for, read once from its body: the model, streaming, bounds; and whether a client may ask it.

JSON is opened one level deep: every value stays raw bytes, so the body can be forwarded as it came. Of a key that
stands there twice the last one counts, as it does for the engine (a test holds both against each other); where the body must be
edited, such a key is refused. Does not know which models there are. Called by `flow`.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from remuda.gateway import answers
from remuda.gateway.exchange import Refused
from remuda.gateway.multipart import find_form_field
from remuda.policy.route import estimate_prompt_tokens
from remuda.vllm import client_fields
from remuda.vllm.routes import Route

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_WATCHED: Final = frozenset(client_fields.DENIED_FIELDS) | frozenset(client_fields.BOUNDED_FIELDS)
_TRUE: Final = b"true"
_STATEFUL: Final = frozenset({"previous_response_id", "conversation", "previous_input_messages"})
_LONGEST_NAME: Final = 512


class FieldRules:
    """What clients may set, from the settings: computed once."""

    __slots__ = ("allow", "deny", "media_urls", "watched")

    def __init__(self, allow: Collection[str], deny: Collection[str]) -> None:
        self.allow = frozenset(allow)
        self.deny = frozenset(deny)
        self.media_urls = "media_urls" in self.allow
        self.watched = _WATCHED | self.deny


class Ask:
    """A parsed request. `body` is what the client sent, untouched."""

    __slots__ = ("body", "capability", "max_tokens", "model", "prompt_tokens", "route", "stream")

    def __init__(self, route: Route, body: bytes, model: str | None) -> None:
        self.route = route
        self.body = body
        self.model = model
        self.stream = False
        self.max_tokens: int | None = None
        self.capability: str = route.capability
        self.prompt_tokens = estimate_prompt_tokens(len(body))


def parse_ask(route: Route, body: bytes, content_type: bytes | None, rules: FieldRules) -> Ask:
    """Read the body as the route says; refuses what is not JSON and what clients may not set."""
    if route.kind == "multipart":
        return _parse_form(route, body, content_type)
    if content_type is not None and b"json" not in content_type.lower():
        raise Refused(answers.unsupported_media_type(content_type.decode("latin-1"), "application/json"))
    fields = decode_object(body)
    if not rules.watched.isdisjoint(fields):
        _check_fields(route, fields, rules)
    if not rules.media_urls:
        _check_media(body)
    model = fields.get("model")
    ask = Ask(route, body, None if model is None else _decode_name(model))
    stream = fields.get("stream")
    if stream is not None and route.streams:
        ask.stream = bytes(stream) == _TRUE
    if model is None:
        ask.max_tokens = _decode_max_tokens(fields)
    return ask


def decode_object(body: bytes) -> dict[str, msgspec.Raw]:
    """The top level of a JSON object; values raw."""
    try:
        if not body.isascii():
            body.decode()
        return _decode_fields(body)
    except UnicodeDecodeError:
        raise Refused(answers.invalid_json("it is not UTF-8")) from None
    except RecursionError:
        raise Refused(answers.invalid_json("it is nested too deeply")) from None
    except msgspec.ValidationError:
        raise Refused(answers.ASK_FOR_OBJECT) from None
    except msgspec.DecodeError as error:
        raise Refused(answers.invalid_json(str(error))) from None


def _decode_name(raw: msgspec.Raw) -> str | None:
    try:
        name = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        raise Refused(answers.invalid_value("model", "it is not a string")) from None
    if name is None:
        return None
    if not isinstance(name, str) or len(name) > _LONGEST_NAME:
        raise Refused(answers.invalid_value("model", "it is not a string"))
    return name or None


def _decode_max_tokens(fields: Mapping[str, msgspec.Raw]) -> int | None:
    for field in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        raw = fields.get(field)
        if raw is not None:
            value = msgspec.json.decode(raw)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return None


def _check_fields(route: Route, fields: Mapping[str, msgspec.Raw], rules: FieldRules) -> None:
    watched = {name: msgspec.json.decode(raw) for name, raw in fields.items() if name in rules.watched}
    denied = client_fields.decide_denied_fields(watched, route.name, rules.allow, rules.deny)
    if denied is None:
        return
    if denied.field in _STATEFUL:
        raise Refused(answers.stateful_not_supported(denied.field))
    raise Refused(answers.field_not_allowed(denied.field, f"{denied.reason} ({denied.hint})"))


def _check_media(body: bytes) -> None:
    """Media addresses would make the engine fetch from inside the operator's network.

    Bytes first: nearly every body has neither such a key nor a key that could be one written with escapes.
    """
    if b'_url"' not in body and b'"source"' not in body and b"\\u00" not in body:
        return
    for address in client_fields.find_media_urls(msgspec.json.decode(body)):
        raise Refused(
            answers.field_not_allowed(
                "url", f"{client_fields.MEDIA_URL_REASON}; {client_fields.MEDIA_URL_HINT}: {address[:80]!r}"
            )
        )


def _parse_form(route: Route, body: bytes, content_type: bytes | None) -> Ask:
    if content_type is None or not content_type.lower().startswith(b"multipart/form-data"):
        sent = "" if content_type is None else content_type.decode("latin-1")
        raise Refused(answers.unsupported_media_type(sent, "multipart/form-data"))
    model = find_form_field(body, content_type, b"model")
    if model is not None and len(model) > _LONGEST_NAME:
        raise Refused(answers.invalid_value("model", "it is not a name"))
    try:
        ask = Ask(route, body, model.decode() if model else None)
    except UnicodeDecodeError:
        raise Refused(answers.invalid_value("model", "it is not UTF-8")) from None
    ask.stream = find_form_field(body, content_type, b"stream") in {b"true", b"True", b"1"}
    return ask


# ---- editing

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]', re.DOTALL)
_EDIT_TOKENS: Final = 2_000_000
"""Strings and brackets looked at before an edit is given up: a bound on the time one body can take."""


def replace_model(body: bytes, name: str) -> bytes:
    """The body with another value of its top-level `model`; every other byte stays."""
    start, end = _find_value(body, "model")
    return body[:start] + msgspec.json.encode(name) + body[end:]


def _find_value(body: bytes, wanted: str) -> tuple[int, int]:
    """Where the value of a top-level key stands. The body is valid JSON: it was decoded before."""
    depth = 0
    key: bytes | None = None
    found: tuple[int, int] | None = None
    start = -1
    count = 0
    for match in _TOKEN.finditer(body):
        count += 1
        if count > _EDIT_TOKENS:
            raise Refused(
                answers.invalid_json("it has too many parts to rename its model; ask for the model by its own name")
            )
        token = body[match.start()]
        if token in b"{[":
            depth += 1
        elif token in b"}]":
            depth -= 1
        if depth > 1 or (depth == 1 and token in b"]}"):
            continue
        if token == 0x3A:  # : begins a value
            start = match.end()
        elif token in b",}" and start >= 0:
            if key is not None and msgspec.json.decode(key) == wanted:
                if found is not None:
                    raise Refused(answers.invalid_value(wanted, "the key stands there twice"))
                found = (start, match.start())
            start, key = -1, None
        elif token == 0x22 and start < 0:
            key = match[0]
    if found is None:
        raise Refused(answers.invalid_value(wanted, "it could not be found"))
    return found
