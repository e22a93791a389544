"""Reads a large JSON body with a pause between slices of work, in which other requests go on.

Does not know what the fields mean.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from remuda.gateway.api import problems
from remuda.gateway.api.body.scan import Scan
from remuda.gateway.api.body.watch import Watch
from remuda.gateway.api.problems import Refused

Pause = Callable[[], Awaitable[None]]
"""Lets other work run once."""

TEXT_SLICE_BYTES: Final = 256 * 1024
"""How much of a body is checked for UTF-8 at a time."""


class TextCheck:
    """Checks that a body is UTF-8, a slice at a time."""

    __slots__ = ("_body", "_position", "_slice_bytes")

    def __init__(self, body: bytes, slice_bytes: int = TEXT_SLICE_BYTES) -> None:
        self._body = body
        self._position = 0
        self._slice_bytes = max(slice_bytes, 4)

    def advance(self) -> bool:
        """Check one slice. True when the whole body is checked."""
        body, start = self._body, self._position
        end = min(start + self._slice_bytes, len(body))
        if end < len(body):
            for _ in range(3):  # a character has at most three bytes behind its first one
                if body[end] & 0xC0 != 0x80:
                    break
                end -= 1
        part = body[start:end]
        if not part.isascii():
            _check_utf8(part)
        self._position = end
        return end == len(body)


def _check_utf8(part: bytes) -> None:
    try:
        part.decode()
    except UnicodeDecodeError:
        raise Refused(problems.invalid_json("it is not UTF-8")) from None


async def read_in_slices(body: bytes, watch: Watch, pause: Pause) -> Scan:
    """Check and scan a body of any size; `pause` is awaited between slices."""
    text = TextCheck(body)
    while not text.advance():
        await pause()
    scan = Scan(body, watch)
    while not scan.advance():
        await pause()
    return scan
