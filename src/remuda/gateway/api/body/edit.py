"""Sets top-level fields of a JSON object by changing only their bytes.

Every other byte of the body stays as the client sent it. Of a key that stands there twice the last one is changed:
that is the one the engine reads. Large bodies are not copied: the result is a list of pieces, most of them views of the
body. Does not know what the fields mean.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from remuda.gateway.api import problems
from remuda.gateway.api.body.scan import Scan, Span
from remuda.gateway.api.body.watch import Watch
from remuda.gateway.api.problems import Refused

Piece = bytes | memoryview

SMALL_BYTES: Final = 64 * 1024
"""Bodies up to this size are parsed at once, in less than a millisecond; larger ones in slices."""

_WORK_MAX: Final = 32 * SMALL_BYTES
"""How much work the search for a field in a small body may be, in the unit of `scan`: two to four milliseconds, enough
for some 4,000 objects."""

_LETTER_ESCAPE: Final = re.compile(rb"\\u00[4-7]")
_patterns: Final[dict[str, "re.Pattern[bytes]"]] = {}


def edit_fields(body: bytes, spans: Mapping[str, Span], edits: Mapping[str, bytes], first: int = 0) -> list[Piece]:
    """The body with other values of some top-level fields; `edits` are JSON texts.

    `spans` says where the values stand now. A field that is not among them is new: it is put in at `first`, in front of
    the first key of the object, which has at least one.
    """
    added = b"".join(
        b"%b:%b," % (msgspec.json.encode(name), value) for name, value in edits.items() if name not in spans
    )
    changes = [(spans[name], value) for name, value in edits.items() if name in spans]
    if added:
        changes.append(((first, first), added))
    changes.sort()
    view: Piece = body if len(body) <= SMALL_BYTES else memoryview(body)
    pieces: list[Piece] = []
    position = 0
    for (start, end), value in changes:
        pieces.append(view[position:start])
        pieces.append(value)
        position = end
    pieces.append(view[position:])
    return pieces


def locate_fields(body: bytes, fields: Mapping[str, Any], names: Iterable[str]) -> dict[str, Span]:
    """Where the values of some top-level fields stand in a small body; `fields` are its top-level fields.

    Most bodies have a key by such a name in one place, and then a search finds it. Where it stands in several places,
    or a key may be spelt with escapes, the body is scanned; a body in which that takes too long is refused.
    """
    wanted = [name for name in names if name in fields]
    spans: dict[str, Span] = {}
    for name in wanted:
        start = _search_value(body, name)
        if not start or not body.startswith(bytes(fields[name]), start):
            return _scan_fields(body, wanted)
        spans[name] = (start, start + len(bytes(fields[name])))
    return spans


def _search_value(body: bytes, name: str) -> int:
    """Where the value of the only key by this name stands, at any depth; 0 when there are several, or none is sure."""
    pattern = _patterns.get(name)
    if pattern is None:
        pattern = _patterns[name] = re.compile(rb'(?<!\\)"%b"[ \t\r\n]*+:[ \t\r\n]*+' % name.encode())
    found = pattern.search(body)
    if found is None or pattern.search(body, found.end()) is not None or _LETTER_ESCAPE.search(body) is not None:
        return 0
    return found.end()


def _scan_fields(body: bytes, names: list[str]) -> dict[str, Span]:
    scan = Scan(body, Watch(names))
    while not scan.advance():
        if scan.work > _WORK_MAX:
            raise Refused(problems.body_too_complex("4000 lists and objects, and its model must be renamed"))
    return scan.spans
