"""The head of a request to an engine, rendered.

Pure: values in, bytes out. Does not know clients, connections or which engine it is.
"""

from typing import Final

_START: Final = b"POST %b%b HTTP/1.1\r\n%b"
_SIDE_HEAD: Final = b"%b %b HTTP/1.1\r\nhost: localhost\r\n%b%bconnection: close\r\n\r\n"
_HEAD: Final = b"%b%bx-request-id: %b\r\ntraceparent: %b\r\ncontent-length: %d\r\n\r\n"


def render_address_lines(host: str, port: int, api_key: str) -> bytes:
    """The header lines that every request to this engine has: its Host and, if it wants one, its key."""
    name = f"[{host}]" if ":" in host else host
    key = f"authorization: Bearer {api_key}\r\n" if api_key else ""
    return f"host: {name}:{port}\r\n{key}".encode()


def render_start(path_prefix: bytes, path: str, address_lines: bytes) -> bytes:
    """The part of a head that all requests to one engine on one route share."""
    return _START % (path_prefix, path.encode(), address_lines)


def render_side_head(method: bytes, target: bytes, lines: bytes, length: int | None) -> bytes:
    """The head of a request that goes on with its own method and target. `length` None: the body is chunked."""
    framing = b"transfer-encoding: chunked\r\n" if length is None else b"content-length: %d\r\n" % length
    return _SIDE_HEAD % (method, target, lines, framing)


def render_head(start: bytes, block: bytes, request_id: bytes, traceparent: bytes, length: int) -> bytes:
    """The whole head. `block` are the client's own header lines that go on, each with its CRLF."""
    return _HEAD % (start, block, request_id, traceparent, length)
