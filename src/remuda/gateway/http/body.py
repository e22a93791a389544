"""The body of a request, decoded from its framing: by length, or chunked.

Feed bytes, get the body when it is complete. Each reader is bounded before it stores anything, and says how many
bytes it did not use: they belong to the next request. Chunk extensions and trailers are bounded, checked and dropped.
Does not know connections or what the body means. Called by `listen`.
"""

import re
from typing import Final

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,12})(?:[ \t]*;[\t -~\x80-\xff]*)?\Z")
_TRAILER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\Z")
_LINE_BYTES: Final = 256
"""Longest chunk-size line and trailer line: extensions are for nobody here."""
_TRAILERS: Final = 16


class BadBody(Exception):  # noqa: N818 - it is a verdict on the client's bytes
    """Refused, with the status that says so. The connection cannot be used further."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class LengthBody:
    """A body of known length. `feed` takes bytes and returns the rest that is not the body's."""

    __slots__ = ("_parts", "missing")

    def __init__(self, length: int) -> None:
        self.missing = length
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        missing = self.missing
        if len(data) <= missing:
            self._parts.append(data)
            self.missing = missing - len(data)
            return b""
        self._parts.append(data[:missing])
        self.missing = 0
        return data[missing:]

    @property
    def complete(self) -> bool:
        return self.missing == 0

    @property
    def stored_bytes(self) -> int:
        return sum(map(len, self._parts))

    def take(self) -> bytes:
        """The body, once; the reader forgets it."""
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)


class ChunkedBody:
    """A chunked body, up to `limit` bytes."""

    __slots__ = ("_left", "_limit", "_line", "_parts", "_state", "_trailers", "stored_bytes")

    _SIZE: Final = 0
    _DATA: Final = 1
    _DATA_END: Final = 2
    _TRAILER: Final = 3
    _DONE: Final = 4

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._state = self._SIZE
        self._left = 0
        self._line = b""
        self._trailers = 0
        self._parts: list[bytes] = []
        self.stored_bytes = 0

    @property
    def complete(self) -> bool:
        return self._state == self._DONE

    def feed(self, data: bytes) -> bytes:
        if self._line:
            data, self._line = self._line + data, b""
        position = 0
        while self._state != self._DONE:
            if self._state == self._DATA:
                position = self._take_data(data, position)
                if self._left:
                    return b""
                continue
            end = data.find(b"\r\n", position)
            if end < 0:
                self._keep_line(data[position:])
                return b""
            self._take_line(data[position:end])
            position = end + 2
        return data[position:]

    def _take_data(self, data: bytes, position: int) -> int:
        part = data[position : position + self._left]
        self._parts.append(part)
        self._left -= len(part)
        if not self._left:
            self._state = self._DATA_END
        return position + len(part)

    def _keep_line(self, line: bytes) -> None:
        if len(line) > _LINE_BYTES:
            raise BadBody(400, "a line between the chunks of the body is too long")
        if b"\n" in line or b"\r" in line[:-1] or (self._state == self._DATA_END and line not in (b"", b"\r")):
            raise BadBody(400, "the chunks of the body are malformed")
        self._line = line

    def _take_line(self, line: bytes) -> None:
        if len(line) > _LINE_BYTES:
            raise BadBody(400, "a line between the chunks of the body is too long")
        if self._state == self._SIZE:
            self._take_size(line)
        elif self._state == self._DATA_END:
            if line:
                raise BadBody(400, "a chunk of the body is longer than it says")
            self._state = self._SIZE
        elif not line:
            self._state = self._DONE
        else:
            self._trailers += 1
            if self._trailers > _TRAILERS or _TRAILER.match(line) is None:
                raise BadBody(400, "the trailers of the body are malformed or too many")

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE.match(line)
        if match is None:
            raise BadBody(400, "a chunk size of the body is malformed")
        size = int(match[1], 16)
        self.stored_bytes += size
        if self.stored_bytes > self._limit:
            raise BadBody(413, f"the body is larger than {self._limit} bytes")
        self._left = size
        self._state = self._DATA if size else self._TRAILER

    def take(self) -> bytes:
        """The body, once; the reader forgets it."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
