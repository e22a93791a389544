"""Reads what a request asks for (model, streaming, bounds), and refuses fields that clients may not set.

A small JSON body is parsed one level deep. Its values stay raw bytes, so the body can be forwarded as it came. A large
body, a body that may have media parts, and a large form are read in slices, with a pause between them in which other
requests go on. If a key occurs twice, the last value counts, as it does for the engine. Does not know which models
there are.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from remuda.gateway.api import problems
from remuda.gateway.api.body.edit import SMALL_BYTES, Piece, edit_fields, locate_fields
from remuda.gateway.api.body.forms import FormReader, is_form
from remuda.gateway.api.body.scan import Span
from remuda.gateway.api.body.slices import Pause, read_in_slices
from remuda.gateway.api.body.watch import may_have_media
from remuda.gateway.api.problems import Refused
from remuda.gateway.api.rules import (
    COMPLETIONS,
    VALUE_BYTES,
    FieldRules,
    read_value,
    refuse_denied_fields,
    refuse_many_sequences,
)
from remuda.gateway.http.head import RequestHead
from remuda.policy.route import estimate_prompt_tokens
from remuda.vllm.client_fields import SOURCE_ROUTES, read_flag, read_number
from remuda.vllm.routes import Route

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_JSON: Final = b"application/json"
_JSON_TYPE: Final = re.compile(rb"application/(?:[\w.!#$&^-]+\+)?json[ \t]*(?:;|\Z)", re.IGNORECASE)
_NO_NAME: Final = frozenset({b"null", b'""'})
_LONGEST_NAME: Final = 512
_LONGEST_RAW_NAME: Final = 6 * _LONGEST_NAME + 2
"""Every character spelt as an escape, and the quotes."""
_USAGE_ON_REQUEST: Final = frozenset({"chat", "completions"})
"""Routes whose streams state their usage only when they are asked to; the others always do."""
_ASK_FOR_USAGE: Final = b'{"include_usage":true}'
_TOKEN_BOUNDS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class Ask:
    """A parsed request. `body` is what the client sent, untouched; `model` is the name as JSON, quotes and all.

    `values` are the top-level fields as JSON texts; of a large body only the beginnings of those that are judged.
    """

    __slots__ = ("body", "capability", "max_tokens", "model", "prompt_tokens", "prompts", "route", "spans", "values")

    def __init__(self, route: Route, body: bytes) -> None:
        self.route = route
        self.body = body
        self.model: bytes | None = None
        self.prompt_tokens = estimate_prompt_tokens(len(body))
        self.prompts = 1
        self.values: Mapping[str, Any] = {}
        self.spans: Mapping[str, Span] | None = None
        """Where the values of top-level fields stand, as far as that is known without a search."""
        # Only known when no model is named, and then they decide among them: `chat` (default), `completion`, `code` …
        self.max_tokens: int | None = None
        self.capability: str | None = None

    @property
    def stream(self) -> bool:
        """Whether the client wants server-sent events. Refused when that cannot be read."""
        return read_flag(self._read("stream")) is True

    @property
    def include_usage(self) -> bool:
        """Whether the client itself asked for token counts at the end of a stream. Refused when that cannot be read."""
        if self.route.kind == "multipart":
            return read_flag(self._read("stream_include_usage")) is True
        raw = self.values.get("stream_options")
        if raw is None or bytes(raw) == b"null":
            return False
        if bytes(raw)[:1] != b"{":
            raise Refused(problems.invalid_value("stream_options", "it is not an object"))
        flag = decode_object(bytes(raw)).get("include_usage")
        return flag is not None and read_flag(read_value(bytes(flag))) is True

    @property
    def sequences(self) -> int:
        """How many sequences the engine decodes for this request at once."""
        return self.prompts * max(self._count("n"), self._count("best_of"), 1)

    def _read(self, field: str) -> object:
        raw = self.values.get(field)
        return None if raw is None else read_value(bytes(raw))

    def _count(self, field: str) -> int:
        number = read_number(self._read(field))
        return 1 if number is None or not number < 1e9 else int(number)

    def usage_request(self) -> bytes | None:
        """The value of `stream_options` with which a stream also states its usage, as JSON.

        None when nothing is to be changed: the client asks for it itself, or its options cannot be read as a whole.
        """
        if self.route.name not in _USAGE_ON_REQUEST or not self.stream:
            return None
        raw = self.values.get("stream_options")
        if raw is None or bytes(raw) == b"null":
            return _ASK_FOR_USAGE
        if len(bytes(raw)) >= VALUE_BYTES or self.include_usage:
            return None
        options = {name: value for name, value in decode_object(bytes(raw)).items() if name != "include_usage"}
        return msgspec.json.encode({"include_usage": True, **options})

    def change(self, edits: Mapping[str, bytes]) -> list[Piece]:
        """The body with other values of some top-level fields, in pieces; every other byte stays.

        `edits` are JSON texts, or the plain texts of a form, of which only fields that are there can be changed.
        """
        spans = self.spans
        if self.route.kind == "multipart":
            known = {} if spans is None else spans
            return edit_fields(self.body, known, {name: value for name, value in edits.items() if name in known})
        if spans is None:
            spans = locate_fields(self.body, self.values, edits)
        return edit_fields(self.body, spans, edits, self.body.find(b"{") + 1)

    def encode_name(self, name: str) -> bytes:
        """A model's name as the body has it: plain in a form, else as JSON."""
        return name.encode() if self.route.kind == "multipart" else msgspec.json.encode(name)


async def parse_ask(route: Route, body: bytes, head: RequestHead, rules: FieldRules, pause: Pause) -> Ask:
    """Read the body as the route says; refuses what cannot be read and what clients may not set.

    Between two slices of a large body it awaits `pause()`, and nothing else ever.
    """
    ask = parse_small(route, body, head, rules)
    if ask is not None:
        return ask
    if route.kind == "multipart":
        return await _parse_form(route, body, head, rules, pause)
    return await _parse_slowly(route, body, head, rules, pause)


def parse_small(route: Route, body: bytes, head: RequestHead, rules: FieldRules) -> Ask | None:
    """The same for most requests, at once; None for a form, a large body, and one that may have media parts."""
    if len(body) > SMALL_BYTES or route.kind == "multipart":
        return None
    _check_type(head)
    fields = decode_object(body)
    if may_have_media(body, route.name in SOURCE_ROUTES):
        return None
    ask = Ask(route, body)
    ask.values = fields
    if route.name == COMPLETIONS:
        ask.prompts = _count_prompts(fields)
    _finish(ask, head, rules)
    return ask


async def _parse_slowly(route: Route, body: bytes, head: RequestHead, rules: FieldRules, pause: Pause) -> Ask:
    _check_type(head)
    scan = await read_in_slices(body, rules.watches[route.name], pause)
    ask = Ask(route, body)
    ask.spans = scan.spans
    ask.values = {field: body[start : min(end, start + VALUE_BYTES)] for field, (start, end) in scan.spans.items()}
    if "prompt" in scan.spans and body[scan.spans["prompt"][0]] == 0x5B:
        ask.prompts = max(len(scan.elements), 1)
    _finish(ask, head, rules)
    return ask


def _finish(ask: Ask, head: RequestHead, rules: FieldRules) -> None:
    """Judge the fields, and find out what decides which model answers."""
    values = ask.values
    if not rules.watched.isdisjoint(values):
        watched = {field: read_value(bytes(raw)) for field, raw in values.items() if field in rules.watched}
        refuse_denied_fields(watched, ask.route.name, rules)
    if ask.prompts > 1:
        refuse_many_sequences(ask.prompts, max(ask._count("n"), ask._count("best_of")), rules)  # noqa: SLF001
    model = values.get("model")
    if model is not None:
        name = bytes(model)
        if name not in _NO_NAME:
            ask.model = name
            return
    ask.max_tokens = _read_token_bound(ask)
    if head.capability is not None:
        ask.capability = head.capability.decode("latin-1").lower()


def _check_type(head: RequestHead) -> None:
    content_type = head.content_type
    if content_type != _JSON and content_type is not None and _JSON_TYPE.match(content_type) is None:
        raise Refused(problems.unsupported_media_type(content_type.decode("latin-1"), "application/json"))


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
    if len(raw) > _LONGEST_RAW_NAME:
        raise Refused(problems.invalid_value("model", f"it is longer than {_LONGEST_NAME} characters"))
    try:
        name = _decode_text(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Refused(problems.invalid_value("model", "it is not a string")) from None
    if len(name) > _LONGEST_NAME:
        raise Refused(problems.invalid_value("model", f"it is longer than {_LONGEST_NAME} characters"))
    return name


def _count_prompts(fields: Mapping[str, msgspec.Raw]) -> int:
    """How many prompts a request to /v1/completions has. A list of numbers is one prompt of token ids."""
    raw = fields.get("prompt")
    if raw is None:
        return 1
    prompt = bytes(raw)
    if prompt[:1] != b"[":
        return 1
    elements = _decode_list(prompt)
    if not elements or bytes(elements[0])[:1] not in {b'"', b"["}:
        return 1
    return len(elements)


def _read_token_bound(ask: Ask) -> int | None:
    """The most tokens that the client wants; None when it does not say."""
    for field in _TOKEN_BOUNDS:
        number = read_number(ask._read(field))  # noqa: SLF001
        if number is None:
            continue
        if not -1e18 < number < 1e18:
            raise Refused(problems.invalid_value(field, f"{number:g} is not a number of tokens"))
        return int(number)
    return None


async def _parse_form(route: Route, body: bytes, head: RequestHead, rules: FieldRules, pause: Pause) -> Ask:
    content_type = head.content_type or b""
    if not is_form(content_type):
        raise Refused(problems.unsupported_media_type(content_type.decode("latin-1"), "multipart/form-data"))
    reader = FormReader(body, content_type, rules.form_fields)
    while not reader.advance():
        if len(body) > SMALL_BYTES:
            await pause()
    ask = Ask(route, body)
    ask.spans = reader.form.spans
    ask.values = {field: msgspec.json.encode(text) for field, text in reader.form.fields.items()}
    _finish(ask, head, rules)
    return ask
