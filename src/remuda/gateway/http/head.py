"""The head of a request: bytes to a checked value, or the status that refuses it.

The grammar is stricter than llhttp's on purpose. Requests are smuggled where two parsers read one request differently,
so everything that RFC 9112 lets a recipient repair is refused here: bare CR or LF, folded lines, a space before the
colon, control characters, two Content-Lengths, Content-Length with Transfer-Encoding, absolute-form and CONNECT. One
regular expression decides the whole grammar at the speed of C. Tests compare it with llhttp and h11.

The result does not depend on how the bytes arrived. This module does not know connections, routes or bodies.
"""

import re
from typing import Final

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_HEAD: Final = re.compile(
    rb"([A-Z]{1,20}+) ([!-~\x80-\xff]++) HTTP/1\.([01])\r\n((?:" + _TOKEN + rb":[\t -~\x80-\xff]*+\r\n)*+)\r\n"
)
_LONE: Final = re.compile(rb"\r(?!\n|\Z)|(?<!\r)\n|\0")
"""A CR or LF alone, or a NUL: no further bytes can turn this into a head."""
_VERSION: Final = re.compile(rb"[^ ]+ [^ ]+ HTTP/\d(?:\.\d)?\Z")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}\Z")
_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})

HEAD_END: Final = b"\r\n\r\n"
_TWICE: Final = "the header %s stands there twice"

# What the gateway reads itself or drops. Everything else is forwarded.
_OURS: Final[dict[bytes, str | None]] = {
    b"host": "host",
    b"content-length": "content_length",
    b"transfer-encoding": "transfer_encoding",
    b"connection": "connection",
    b"expect": "expect",
    b"authorization": "authorization",
    b"x-api-key": "x_api_key",
    b"x-request-id": "request_id",
    b"traceparent": "traceparent",
    b"origin": "origin",
    b"x-remuda-capability": "capability",
    # Dropped: they describe the hop to the gateway, or are not an engine's business. An upgrade is ignored, as RFC 9110
    # section 7.8 allows. Engines must not compress their answers, because markers are looked for in them.
    b"keep-alive": None,
    b"te": None,
    b"trailer": None,
    b"upgrade": None,
    b"http2-settings": None,
    b"via": None,
    b"forwarded": None,
    b"x-real-ip": None,
    b"api-key": None,
    b"cookie": None,
    b"accept-encoding": None,
    # The engine would take these from a client: which of its ranks works, what comes first, which session it is.
    b"x-data-parallel-rank": None,
    b"x-vllm-priority": None,
    b"x-session-id": None,
    b"endpoint-load-metrics-format": None,
}
_NOT_FORWARDED: Final = (b"x-forwarded-", b"proxy-", b"x-remuda-")
"""Beginnings of further names that are dropped."""
_ONCE: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"authorization", b"x-api-key"})


class BadHead(Exception):  # noqa: N818 - it is a verdict on the client's bytes
    """Refused, with the status that says so. The connection cannot be used further."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RequestHead:
    """A checked head. It is not changed after parsing, because a connection reuses it when the same bytes come again.

    block      the header lines that go on to the engine, rendered
    forwarded  the same, line by line
    length     how long the body is; 0 for a chunked one
    identity   what the access layer has found out about exactly these bytes, so that it need not find it out again

    The other fields are headers that the gateway reads itself; None means that the request has no such header.
    """

    authorization: bytes | None = None
    capability: bytes | None = None
    connection: bytes | None = None
    content_length: bytes | None = None
    content_type: bytes | None = None
    expect: bytes | None = None
    host: bytes | None = None
    origin: bytes | None = None
    request_id: bytes | None = None
    traceparent: bytes | None = None
    transfer_encoding: bytes | None = None
    x_api_key: bytes | None = None
    block: bytes = b""
    length: int = 0
    identity: object = None

    def __init__(self, method: bytes, target: bytes, minor: int) -> None:
        self.method = method
        self.target = target
        self.path = target.partition(b"?")[0]
        self.minor = minor
        self.keep_alive = minor == 1
        self.forwarded: list[bytes] = []


class HeadLimits:
    """The three bounds on a head."""

    __slots__ = ("head_bytes", "header_count", "url_bytes")

    def __init__(self, head_bytes: int, header_count: int, url_bytes: int) -> None:
        self.head_bytes = head_bytes
        self.header_count = header_count
        self.url_bytes = url_bytes


def find_head_end(data: bytes, limits: HeadLimits) -> int:
    """Where the body begins; 0 while bytes are missing. Refuses what can no longer become a head."""
    end = data.find(HEAD_END, 0, limits.head_bytes + 4)
    if end >= 0:
        return end + 4
    _refuse_hopeless(data, limits)
    return 0


def _refuse_hopeless(data: bytes, limits: HeadLimits) -> None:
    line_end = data.find(b"\r\n")
    if (line_end < 0 and len(data) > limits.url_bytes + 40) or line_end > limits.url_bytes + 40:
        raise BadHead(414, f"the request line is longer than {limits.url_bytes} bytes")
    if len(data) > limits.head_bytes:
        raise BadHead(431, f"the request's headers are longer than {limits.head_bytes} bytes")
    if _LONE.search(data) is not None:
        raise BadHead(400, "the request's head has a bare CR, a bare LF or a NUL in it")
    if data and not data[:1].isupper():
        raise BadHead(400, "this is not an HTTP/1 request")


def parse_head(head: bytes, limits: HeadLimits) -> RequestHead:
    """Check `head` (request line to empty line) and sort its headers."""
    match = _HEAD.fullmatch(head)
    if match is None:
        raise _explain(head, limits)
    method, target, minor, block = match.groups()
    if len(target) > limits.url_bytes:
        raise BadHead(414, f"the URL is longer than {limits.url_bytes} bytes")
    parsed = RequestHead(method, target, 1 if minor == b"1" else 0)
    lines = block.split(b"\r\n")
    lines.pop()
    if len(lines) > limits.header_count:
        raise BadHead(431, f"more than {limits.header_count} headers")
    _sort_headers(parsed, lines)
    _check_request(parsed)
    _check_framing(parsed)
    if parsed.forwarded:
        parsed.block = b"\r\n".join(parsed.forwarded) + b"\r\n"
    return parsed


def _sort_headers(head: RequestHead, lines: list[bytes]) -> None:
    forwarded = head.forwarded
    ours = _OURS
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name not in ours:
            if name == b"content-type":
                if head.content_type is not None:
                    raise BadHead(400, _TWICE % "content-type")
                head.content_type = value.strip()
            elif name.startswith(_NOT_FORWARDED):
                continue
            forwarded.append(line)
            continue
        field = ours[name]
        if field is None:
            continue
        value = value.strip(b" \t")
        before = getattr(head, field)
        if before is not None:
            if name in _ONCE:
                raise BadHead(400, _TWICE % name.decode())
            value = before + b"," + value
        setattr(head, field, value)


def _check_request(head: RequestHead) -> None:
    if head.method not in _METHODS:
        raise BadHead(501, f"the method {head.method.decode()} is not served here")
    if head.target[0] != 0x2F and not (head.target == b"*" and head.method == b"OPTIONS"):
        raise BadHead(400, "the request target must be a path: this is not a forward proxy")
    if not head.target.isascii():
        raise BadHead(400, "the request target has bytes outside ASCII; percent-encode them")
    if head.host is None and head.minor == 1:
        raise BadHead(400, "the Host header is missing")
    if head.connection is not None:
        _apply_connection(head, head.connection)


def _check_framing(head: RequestHead) -> None:
    """Refuse a head that two parsers could read as two lengths of the body."""
    if head.content_length is not None:
        if _DIGITS.match(head.content_length) is None:
            raise BadHead(400, "Content-Length is not a number")
        head.length = int(head.content_length)
    if head.transfer_encoding is None:
        return
    if head.content_length is not None:
        raise BadHead(400, "Content-Length and Transfer-Encoding together")
    if head.minor == 0:
        raise BadHead(400, "Transfer-Encoding does not exist in HTTP/1.0")
    if head.transfer_encoding.lower() != b"chunked":
        raise BadHead(501, "the only transfer encoding served here is chunked")


def _apply_connection(head: RequestHead, value: bytes) -> None:
    value = value.lower()
    if value == b"keep-alive":
        head.keep_alive = True
        return
    named = {token.strip(b" \t") for token in value.split(b",")}
    if b"content-type" in named:
        raise BadHead(400, "Connection names Content-Type, which is for the engine as well")
    if b"close" in named:
        head.keep_alive = False
    elif b"keep-alive" in named:
        head.keep_alive = True
    if head.forwarded:
        head.forwarded = [line for line in head.forwarded if line.partition(b":")[0].lower() not in named]


def _explain(head: bytes, limits: HeadLimits) -> BadHead:
    """The reason why the grammar did not match. Slow: it is for people only."""
    line, _, rest = head.partition(b"\r\n")
    if len(line) > limits.url_bytes + 40:
        return BadHead(414, f"the URL is longer than {limits.url_bytes} bytes")
    if _LONE.search(head) is not None:
        return BadHead(400, "the request's head has a bare CR, a bare LF or a NUL in it")
    if _VERSION.match(line) and not line.endswith((b" HTTP/1.1", b" HTTP/1.0")):
        return BadHead(505, "only HTTP/1.1 and HTTP/1.0 are served here")
    if rest.startswith((b" ", b"\t")) or b"\r\n " in rest or b"\r\n\t" in rest:
        return BadHead(400, "a header is folded over two lines")
    if not re.fullmatch(rb"[A-Z]{1,20} [!-~\x80-\xff]+ HTTP/1\.[01]", line):
        return BadHead(400, "the request line is malformed")
    return BadHead(400, "a header is malformed")
