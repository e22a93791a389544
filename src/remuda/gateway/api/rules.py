"""Applies the operator's rules on request fields: one place for JSON bodies, forms and the translated routes.

Which fields exist and why they are denied stands in `vllm.client_fields`; this module reads values from their JSON
text as the engine does, and turns a denial into the answer that says so. Does not know how a body is parsed.
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from remuda.gateway.api import problems
from remuda.gateway.api.body.watch import MediaRules, Watch
from remuda.gateway.api.problems import Problem, Refused
from remuda.vllm import client_fields
from remuda.vllm.client_fields import DeniedField
from remuda.vllm.routes import ROUTES

_decode_text = msgspec.json.Decoder(str).decode
_WATCHED: Final = frozenset(client_fields.DENIED_FIELDS) | frozenset(client_fields.BOUNDED_FIELDS)
_LITERALS: Final[dict[bytes, object]] = {b"null": None, b"true": True, b"false": False}
_LONGEST_TEXT: Final = 8192
"""A longer text is no name, number or flag."""
VALUE_BYTES: Final = 2 * _LONGEST_TEXT
"""How much of a value is enough to judge it."""
_EMPTY: Final = re.compile(rb"[\[{][ \t\r\n]*[\]}]")


class Opaque:
    """A value that no rule looks into: a list or object with something in it, or a very long text."""

    def __repr__(self) -> str:
        return "(a value)"


OPAQUE: Final = Opaque()

COMPLETIONS: Final = "completions"
"""The name of the route whose `prompt` may be a list of prompts."""


_READ: Final = frozenset(
    {"max_completion_tokens", "max_output_tokens", "max_tokens", "model", "prompt", "stream", "stream_options"}
)
"""Fields of a JSON body that the gateway reads for itself."""
_READ_OF_FORMS: Final = frozenset({"max_completion_tokens", "model", "stream", "stream_include_usage"})
"""The same of a form."""


class FieldRules:
    """What clients may set, from the settings; computed once.

    `watched` are the top-level fields whose values are judged. `form_fields` are the fields of a form that are read.
    `watches` says, by the name of a route, what a scan of a large body looks for.
    """

    __slots__ = ("allow", "deny", "form_fields", "media", "watched", "watches")

    def __init__(self, allow: Collection[str], deny: Collection[str]) -> None:
        self.allow = frozenset(allow)
        self.deny = frozenset(deny)
        self.media = MediaRules(self.allow)
        self.watched = _WATCHED | self.deny
        self.form_fields = _READ_OF_FORMS | self.deny | _judged_everywhere()
        self.watches = {name: self._make_watch(name) for name in {route.name for route in ROUTES.values()}}

    def _make_watch(self, route_name: str) -> Watch:
        watch = Watch(self.watched | _READ, self.media, route_name)
        if route_name == COMPLETIONS:
            watch.record_elements("prompt", client_fields.SEQUENCES_MAX, numbers_are_one=True)
        return watch


def _judged_everywhere() -> frozenset[str]:
    """The fields that a rule names for every route, forms included."""
    denied = {field for field, rule in client_fields.DENIED_FIELDS.items() if rule.routes is None}
    return frozenset(denied | client_fields.BOUNDED_FIELDS.keys())


NO_RULES: Final = FieldRules((), ())
"""The rules of an operator who allows and denies nothing beyond the tables."""


def refuse_denied_fields(fields: Mapping[str, object], route_name: str, rules: FieldRules) -> None:
    """Refuse the first of these top-level fields that a client may not set on this route."""
    denied = client_fields.decide_denied_fields(fields, route_name, rules.allow, rules.deny)
    if denied is not None:
        raise Refused(_explain(denied))


def refuse_many_sequences(prompts: int, n: int, rules: FieldRules) -> None:
    """Refuse a request that would decode too many sequences at once."""
    denied = client_fields.decide_sequences(prompts, n, rules.allow)
    if denied is not None:
        raise Refused(_explain(denied))


def _explain(denied: DeniedField) -> Problem:
    if denied.field in client_fields.STATEFUL_FIELDS:
        return problems.stateful_not_supported(denied.field)
    if denied.out_of_bounds:
        return problems.invalid_value(denied.field, f"{denied.reason} ({denied.hint})")
    return problems.field_not_allowed(denied.field, f"{denied.reason} ({denied.hint})")


def read_value(raw: bytes) -> object:
    """The value of a JSON text, as far as rules look at it: None, a boolean, a float, a string, or OPAQUE.

    Every number becomes a float, however many digits it has: no spelling raises, and 1e400 is infinity.
    """
    first = raw[:1]
    if first == b'"':
        return _read_text(raw)
    if first in {b"[", b"{"}:
        return () if _EMPTY.fullmatch(raw) is not None else OPAQUE
    if raw in _LITERALS:
        return _LITERALS[raw]
    if len(raw) > _LONGEST_TEXT:
        return math.inf
    try:
        return float(raw)
    except ValueError:
        raise Refused(problems.invalid_json("a value is neither a number, a text, true, false nor null")) from None


def _read_text(raw: bytes) -> object:
    if len(raw) > _LONGEST_TEXT:
        return OPAQUE
    try:
        return _decode_text(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Refused(problems.invalid_json(str(error))) from None
