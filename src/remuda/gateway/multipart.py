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
    match = _BOUNDARY.search(content_type)
    if match is None:
        return None
    mark = b"--" + (match[1] or match[2])
    value = None
    position = body.find(mark)
    for _ in range(_PARTS):
        if position < 0:
            break
        following = body.find(b"\r\n" + mark, position + len(mark))
        value = _read_part(body, position + len(mark), following, name, value)
        position = following + 2 if following >= 0 else -1
    return value


def _read_part(body: bytes, start: int, end: int, name: bytes, otherwise: bytes | None) -> bytes | None:
    """The part's value when it is the field called `name`, else `otherwise`."""
    head_end = body.find(b"\r\n\r\n", start, start + _LONGEST)
    if end < 0 or head_end < 0 or head_end > end:
        return otherwise
    head = body[start:head_end]
    match = _NAME.search(head)
    if match is None or (match[1] or match[2] or b"") != name or b"filename" in head.lower():
        return otherwise
    return body[head_end + 4 : min(end, head_end + 4 + _LONGEST)]
