"""What a search of a body looks for: the wanted fields, and the keys of parts with media; what denied parts are told.

Why a part is denied stands in `vllm.client_fields`. Does not know how a body is searched.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

from remuda.gateway.api import problems
from remuda.gateway.api.problems import Refused
from remuda.vllm import client_fields

_MARK: Final = re.compile(rb'_(?:url|embeds|pil|audio)"')
"""The end of every key of a media part but `source`."""
_LETTER_ESCAPE: Final = re.compile(rb"\\u00[4-7]")
"""A letter or an underscore that is spelt as an escape: any key may be there in disguise."""


class MediaRules:
    """What clients may put into media parts, from the fields that the operator allows; computed once."""

    __slots__ = ("check_urls", "check_uuids", "denied_embeds")

    def __init__(self, allow: Collection[str]) -> None:
        self.check_urls = client_fields.MEDIA_URLS not in allow
        self.check_uuids = client_fields.UUID_KEY not in allow
        self.denied_embeds = client_fields.EMBEDS - frozenset(allow)

    def list_names(self, route_name: str) -> frozenset[bytes]:
        """The keys, at any depth, that must be looked at on this route."""
        names: set[str] = set(self.denied_embeds)
        if self.check_urls:
            names |= client_fields.ADDRESS_KEYS
            if route_name in client_fields.SOURCE_ROUTES:
                names.add(client_fields.SOURCE_KEY)
        if self.check_uuids:
            names |= client_fields.MEDIA_KEYS | {client_fields.UUID_KEY}
        return frozenset(name.encode() for name in names)


class Watch:
    """What one kind of scan looks for; computed once.

    `fields` are the wanted top-level fields, `names` the keys that matter at any depth on this route.
    """

    __slots__ = ("fields", "list_field", "longest", "media", "most_elements", "names", "numbers_are_one", "skip")

    def __init__(self, fields: Collection[str], media: MediaRules | None = None, route_name: str = "") -> None:
        self.fields: Mapping[bytes, str] = {field.encode(): field for field in fields}
        self.media = media
        self.names: frozenset[bytes] = frozenset() if media is None else media.list_names(route_name)
        longest = max((len(name) for name in (*self.fields, *self.names)), default=0)
        self.longest = 6 * longest + 2
        """Longest spelling of a wanted key, every character as an escape, with its quotes."""
        self.skip = _compile_skip(self.names)
        self.list_field: str | None = None
        self.most_elements = 0
        self.numbers_are_one = False

    def record_elements(self, field: str, most: int, *, numbers_are_one: bool = False) -> None:
        """Record the elements of the list in this field, up to `most` and one more; "" means the body itself.

        With `numbers_are_one`, a list of numbers has one element: it is a prompt of token ids.
        """
        self.list_field = field
        self.most_elements = most
        self.numbers_are_one = numbers_are_one


def _compile_skip(names: Collection[bytes]) -> "re.Pattern[bytes]":
    """Skips what does not matter: numbers, texts, and lists and objects without further ones in them.

    It stops at the other brackets, at a text that is one of `names`, and at one that may be a name in disguise: \\u004x
    to \\u007x spell letters and the underscore.
    """
    not_a_name = rb"(?!(?:" + b"|".join(sorted(names)) + rb')")' if names else b""
    not_a_letter = rb"(?!u00[4-7])" if names else b""
    plain = rb'[^"\[\]{}]++|"' + not_a_name + rb'[^"\\]*+(?:\\' + not_a_letter + rb'.[^"\\]*+)*+"'
    flat = rb"\[(?:" + plain + rb")*+\]|\{(?:" + plain + rb")*+\}"
    return re.compile(rb"(?:" + plain + rb"|" + flat + rb")*+", re.DOTALL)


def may_have_media(body: bytes, has_source: bool) -> bool:
    """Whether a body may have a media part. Most have none.

    To find a single byte costs a fiftieth of a regular expression, so the expression sees only what may match.
    """
    first = body.find(b"_")
    if first >= 0 and _MARK.search(body, first) is not None:
        return True
    if has_source and body.find(b'"source"') >= 0:
        return True
    return body.find(b"\\") >= 0 and _LETTER_ESCAPE.search(body) is not None


def refuse_url(shown: str) -> Refused:
    """The answer to an address in a media part."""
    reason, hint = client_fields.URL_REASON, client_fields.URL_HINT
    return Refused(problems.field_not_allowed("url", f"{reason}; {hint}: {problems.cut(shown, 80)!r}"))


def refuse_uuid() -> Refused:
    """The answer to a media part with a `uuid`."""
    why = f"{client_fields.UUID_REASON} ({client_fields.UUID_HINT})"
    return Refused(problems.field_not_allowed(client_fields.UUID_KEY, why))


def refuse_embeds(name: str) -> Refused:
    """The answer to a part of raw tensors."""
    why = f"{client_fields.EMBEDS_REASON} ({client_fields.EMBEDS_HINT})"
    return Refused(problems.field_not_allowed(name, why))
