"""What a request asks for, read once from its body: the model, streaming, bounds; and whether a client may ask it.

JSON is opened one level deep: every value stays raw bytes, so the body can be forwarded as it came. Of a key that
stands there twice the last one counts, as it does for the engine (a test holds both against each other); where the
body must be edited, such a key is refused. Does not know which models there are. Called by `flow`.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec

from remuda.gateway.api import problems
from remuda.gateway.api.forms import find_form_field, replace_form_field
from remuda.gateway.api.problems import Refused
from remuda.gateway.http.head import RequestHead
from remuda.policy.route import estimate_prompt_tokens
from remuda.vllm import client_fields
from remuda.vllm.routes import Route

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_WATCHED: Final = frozenset(client_fields.DENIED_FIELDS) | frozenset(client_fields.BOUNDED_FIELDS)
_JSON: Final = b"application/json"
_STATEFUL: Final = frozenset({"previous_response_id", "conversation", "previous_input_messages"})
_NO_NAME: Final = frozenset({b"null", b'""'})
_MEDIA_MARKS: Final = (b'_url"', b'"source"', b"\\u00")
_ANTHROPIC: Final = frozenset({"messages", "count_tokens"})
"""There an address stands under `source`, a key too common to look for by its bytes."""
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
    """A parsed request. `body` is what the client sent, untouched; `model` is the name as JSON, quotes and all."""

    __slots__ = ("body", "capability", "content_type", "max_tokens", "model", "prompt_tokens", "route")

    def __init__(self, route: Route, body: bytes) -> None:
        self.route = route
        self.body = body
        self.model: bytes | None = None
        self.prompt_tokens = estimate_prompt_tokens(len(body))
        # Only known when no model is named, and then they decide among them: `chat` (default), `completion`, `code` …
        self.max_tokens: int | None = None
        self.capability: str | None = None
        self.content_type = b""

    def rename_model(self, name: str) -> bytes:
        """The body with another model's name in it; every other byte stays."""
        if self.route.kind == "multipart":
            return replace_form_field(self.body, self.content_type, b"model", name.encode())
        return replace_model(self.body, name)


def parse_ask(route: Route, body: bytes, head: RequestHead, rules: FieldRules) -> Ask:
    """Read the body as the route says; refuses what is not JSON and what clients may not set."""
    ask = Ask(route, body)
    if route.kind == "multipart":
        return _parse_form(ask, head)
    content_type = head.content_type
    if content_type != _JSON and content_type is not None and b"json" not in content_type.lower():
        raise Refused(problems.unsupported_media_type(content_type.decode("latin-1"), "application/json"))
    fields = decode_object(body)
    if not rules.watched.isdisjoint(fields):
        _check_fields(route, fields, rules)
    # find() rather than `in`: of bytes, `in` first tries the needle as a number, which costs more than the search.
    if not rules.media_urls and (body.find(b'_url"') >= 0 or body.find(b"\\") >= 0 or route.name in _ANTHROPIC):
        _check_media(body)
    model = fields.get("model")
    if model is not None:
        name = bytes(model)
        if name not in _NO_NAME:
            ask.model = name
            return ask
    ask.max_tokens = _decode_max_tokens(fields)
    if head.capability is not None:
        ask.capability = head.capability.decode("latin-1").lower()
    return ask


def decode_object(body: bytes) -> dict[str, msgspec.Raw]:
    """The top level of a JSON object; values raw."""
    try:
        if not body.isascii():
            body.decode()
        return _decode_fields(body)
    except UnicodeDecodeError:
        raise Refused(problems.invalid_json("it is not UTF-8")) from None
    except RecursionError:
        raise Refused(problems.invalid_json("it is nested too deeply")) from None
    except msgspec.ValidationError:
        raise Refused(problems.ASK_FOR_OBJECT) from None
    except msgspec.DecodeError as error:
        raise Refused(problems.invalid_json(str(error))) from None


def decode_name(raw: bytes) -> str:
    """A model's name that is not known by its bytes."""
    try:
        name = _decode_text(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Refused(problems.invalid_value("model", "it is not a string")) from None
    if len(name) > _LONGEST_NAME:
        raise Refused(problems.invalid_value("model", f"it is longer than {_LONGEST_NAME} characters"))
    return name


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
        raise Refused(problems.stateful_not_supported(denied.field))
    raise Refused(problems.field_not_allowed(denied.field, f"{denied.reason} ({denied.hint})"))


def _check_media(body: bytes) -> None:
    """Media addresses would make the engine fetch from inside the operator's network.

    The caller looks at bytes first: most bodies have neither such a key nor a backslash, with which one could be spelt.
    """
    if not any(mark in body for mark in _MEDIA_MARKS):
        return
    for address in client_fields.find_media_urls(msgspec.json.decode(body)):
        why = f"{client_fields.MEDIA_URL_REASON}; {client_fields.MEDIA_URL_HINT}: {address[:80]!r}"
        raise Refused(problems.field_not_allowed("url", why))


def _parse_form(ask: Ask, head: RequestHead) -> Ask:
    content_type = head.content_type or b""
    if not content_type.lower().startswith(b"multipart/form-data"):
        raise Refused(problems.unsupported_media_type(content_type.decode("latin-1"), "multipart/form-data"))
    ask.content_type = content_type
    model = find_form_field(ask.body, content_type, b"model")
    if not model:
        return ask
    try:
        ask.model = msgspec.json.encode(model.decode())
    except UnicodeDecodeError:
        raise Refused(problems.invalid_value("model", "it is not UTF-8")) from None
    return ask


# ---- editing

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]', re.DOTALL)
_OPENING: Final = frozenset({b"{", b"["})
_CLOSING: Final = frozenset({b"}", b"]"})
_EDIT_TOKENS: Final = 2_000_000
"""Strings and brackets looked at before an edit is given up: a bound on the time one body can take."""


def replace_model(body: bytes, name: str) -> bytes:
    """The body with another value of its top-level `model`; every other byte stays."""
    start, end = _find_value(body, "model")
    return body[:start] + msgspec.json.encode(name) + body[end:]


def _find_value(body: bytes, wanted: str) -> tuple[int, int]:
    """Where the value of a top-level key stands. The body is valid JSON: it was decoded before."""
    found = None
    for key, start, end in _walk_top_level(body):
        if msgspec.json.decode(key) == wanted:
            if found is not None:
                raise Refused(problems.invalid_value(wanted, "the key stands there twice"))
            found = (start, end)
    if found is None:
        raise Refused(problems.invalid_value(wanted, "it could not be found"))
    return found


def _walk_top_level(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(key with its quotes, start of its value, end of its value) for each key of the outermost object."""
    depth = start = 0
    key = b""
    for count, match in enumerate(_TOKEN.finditer(body)):
        if count > _EDIT_TOKENS:
            raise Refused(problems.invalid_json("it has too many parts to rename its model; use the model's own name"))
        token = match[0]
        if token in _OPENING:
            depth += 1
        elif token in _CLOSING:
            depth -= 1
        if depth == 1 and token == b":":
            start = match.end()
        elif start and ((depth == 1 and token == b",") or depth == 0):
            yield key, start, match.start()
            start = 0
        elif depth == 1 and not start:
            key = token
