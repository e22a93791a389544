"""The body of a request, decoded from its framing: by length, or chunked.

Feed bytes, get the body when it is complete. Each reader is bounded before it stores anything, does a constant amount
of work per byte however small the pieces are, and needs about an eighth more memory than the body (a BytesIO hands out
its own buffer, cut to size). It returns the bytes that it did not use: they belong to the next request. Extensions of
chunks, and trailers, are bounded, checked and dropped. Does not know connections or what the body means.
"""

import re
from io import BytesIO
from typing import Final

_PLAIN_SIZES: Final = {b"%x" % size: size for size in range(1, 4096)}
"""Size lines that need no closer look."""
_PLAIN_LINE_BYTES: Final = 5
"""The longest of them, with its CRLF."""
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,12})(?:[ \t]*;[\t -~\x80-\xff]*)?\Z")
_TRAILER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\Z")
_LINE_BYTES: Final = 256
"""Longest chunk-size line and trailer line: nobody reads extensions here."""
_TRAILERS: Final = 16
_WASTE_BYTES: Final = 16 * 1024
"""Extensions may take this much in all, beyond what is in proportion to the chunks."""
_FREE_BYTES: Final = 16
"""The part of a size line that is always in proportion; two bytes per byte of the chunk come on top."""


class BadBody(Exception):  # noqa: N818 - it is a verdict on the client's bytes
    """Refused, with the status that says so. The connection cannot be used further."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class LengthBody:
    """A body of known length. `feed` takes bytes and returns the rest that is not the body's."""

    __slots__ = ("_stored", "missing", "stored_bytes")

    def __init__(self, length: int) -> None:
        self.missing = length
        self.stored_bytes = 0
        """What has arrived so far."""
        self._stored = BytesIO()

    def feed(self, data: bytes) -> bytes:
        missing = self.missing
        rest = b""
        if len(data) > missing:
            data, rest = data[:missing], data[missing:]
        self._stored.write(data)
        self.stored_bytes += len(data)
        self.missing = missing - len(data)
        return rest

    @property
    def complete(self) -> bool:
        return self.missing == 0

    def take(self) -> bytes:
        """The body, once; the reader forgets it."""
        stored, self._stored = self._stored, BytesIO()
        return stored.getvalue()


class ChunkedBody:
    """A chunked body, up to `limit` bytes."""

    __slots__ = ("_left", "_limit", "_line", "_state", "_stored", "_trailers", "_waste_bytes", "stored_bytes")

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
        self._waste_bytes = 0
        self._stored = BytesIO()
        self.stored_bytes = 0
        """What has arrived so far, without its framing."""

    @property
    def complete(self) -> bool:
        return self._state == self._DONE

    def feed(self, data: bytes) -> bytes:
        """Decode these bytes; the rest behind the body."""
        if self._line:
            data, self._line = self._line + data, b""
        position = 0
        while self._state != self._DONE:
            if self._state == self._DATA:
                position = self._take_data(data, position)
                if self._left:
                    return b""
                continue
            if self._state == self._SIZE:
                position = self._take_plain(data, position)
            end = data.find(b"\r\n", position)
            if end < 0:
                self._keep_line(data[position:])
                return b""
            self._take_line(data[position:end])
            position = end + 2
        return data[position:]

    def _take_plain(self, data: bytes, position: int) -> int:
        """Store the chunks from here on that are whole and have a plain size line; a short way through tiny chunks."""
        find, write, limit = data.find, self._stored.write, self._limit
        stored_bytes = self.stored_bytes
        while True:
            end = find(b"\r\n", position, position + _PLAIN_LINE_BYTES)
            size = _PLAIN_SIZES.get(data[position:end]) if end >= 0 else None
            if size is None:
                break
            end += 2
            next_position = end + size + 2
            if data[next_position - 2 : next_position] != b"\r\n" or stored_bytes + size > limit:
                break
            write(data[end : end + size])
            stored_bytes += size
            position = next_position
        self.stored_bytes = stored_bytes
        return position

    def _take_data(self, data: bytes, position: int) -> int:
        """Store what is here of a chunk, and step over its end when that is here too."""
        part = data[position : position + self._left]
        self._stored.write(part)
        size = len(part)
        self.stored_bytes += size
        self._left -= size
        position += size
        if not self._left:
            self._state = self._DATA_END
            if data.startswith(b"\r\n", position):
                self._state = self._SIZE
                return position + 2
        return position

    def _keep_line(self, line: bytes) -> None:
        if len(line) > _LINE_BYTES:
            raise BadBody(400, "a line between the chunks of the body is too long")
        if b"\n" in line or b"\r" in line[:-1] or (self._state == self._DATA_END and line not in (b"", b"\r")):
            raise BadBody(400, "the chunks of the body are malformed")
        self._line = line

    def _take_line(self, line: bytes) -> None:
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
            if self._trailers > _TRAILERS or len(line) > _LINE_BYTES or _TRAILER.match(line) is None:
                raise BadBody(400, "the trailers of the body are malformed or too many")

    def _take_size(self, line: bytes) -> None:
        size = self._read_size(line)
        if self.stored_bytes + size > self._limit:
            raise BadBody(413, f"the body is larger than {self._limit} bytes")
        self._left = size
        self._state = self._DATA if size else self._TRAILER

    def _read_size(self, line: bytes) -> int:
        if len(line) > _LINE_BYTES:
            raise BadBody(400, "a line between the chunks of the body is too long")
        match = _SIZE_LINE.match(line)
        if match is None:
            raise BadBody(400, "a chunk size of the body is malformed")
        size = int(match[1], 16)
        self._waste_bytes = max(0, self._waste_bytes + len(line) - _FREE_BYTES - 2 * size)
        if self._waste_bytes > _WASTE_BYTES:
            raise BadBody(400, "the chunks of the body have too many extensions")
        return size

    def take(self) -> bytes:
        """The body, once; the reader forgets it."""
        stored, self._stored = self._stored, BytesIO()
        return stored.getvalue()
