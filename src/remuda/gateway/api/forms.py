"""One text field of a multipart form, found without decoding the form: the model's name beside an audio file.

Looks at part headers only; the file is never copied. Called by `ask`.
"""

import re
from typing import Final

_BOUNDARY: Final = re.compile(rb'boundary=(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_NAME: Final = re.compile(rb'[;\s]name=(?:"([^"\r\n]*)"|([^\s;"]*))', re.IGNORECASE)
_PARTS: Final = 64
_LONGEST: Final = 4096


def find_form_field(body: bytes, content_type: bytes, name: bytes) -> bytes | None:
    """The value of the last part called `name`, as form parsers take it; None when there is none."""
    span = _find_last(body, content_type, name)
    return None if span is None else body[span[0] : min(span[1], span[0] + _LONGEST)]


def replace_form_field(body: bytes, content_type: bytes, name: bytes, value: bytes) -> bytes:
    """The form with another value of the last part called `name`; every other byte stays."""
    span = _find_last(body, content_type, name)
    return body if span is None else body[: span[0]] + value + body[span[1] :]


def _find_last(body: bytes, content_type: bytes, name: bytes) -> tuple[int, int] | None:
    """Where the value of the last part called `name` stands."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        return None
    mark = b"--" + (match[1] or match[2])
    found = None
    position = body.find(mark)
    for _ in range(_PARTS):
        following = body.find(b"\r\n" + mark, position + len(mark)) if position >= 0 else -1
        if following < 0:
            break
        found = _read_part(body, position + len(mark), following, name) or found
        position = following + 2
    return found


def _read_part(body: bytes, start: int, end: int, name: bytes) -> tuple[int, int] | None:
    """Where the part's value stands when it is the field called `name`."""
    head_end = body.find(b"\r\n\r\n", start, min(end, start + _LONGEST))
    if head_end < 0:
        return None
    head = body[start:head_end]
    match = _NAME.search(head)
    if match is None or (match[1] or match[2] or b"") != name or b"filename" in head.lower():
        return None
    return head_end + 4, end
