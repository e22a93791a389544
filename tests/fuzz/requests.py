"""Target: what clients send. Oracles: llhttp (httptools) and h11, the two parsers that uvicorn can use.

All readers get the same bytes, a request at a time: first the head that the gateway found, then the body. After each
step, an oracle that has not refused must stand where the gateway stands and must have read the same.
"""

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from random import Random

import h11
import httptools
from tests.fuzz import mutations
from tests.fuzz.corpus.requests import REQUESTS
from tests.fuzz.running import Reading, RuleBrokenError, Target, cut

from remuda.gateway.head_memo import HeadMemo
from remuda.gateway.http.body import BadBody, ChunkedBody, LengthBody
from remuda.gateway.http.head import BadHead, HeadLimits, RequestHead, find_head_end, parse_head

LIMITS = HeadLimits(head_bytes=32_768, header_count=100, url_bytes=8192)
BODY_BYTES = 1 << 20

Pairs = list[tuple[bytes, bytes]]


@dataclass
class Head:
    """A request's head as an oracle read it. Names are in small letters, values have no blanks around them."""

    method: bytes
    target: bytes
    minor: int
    pairs: Pairs

    def values(self, name: bytes) -> bytes | None:
        """All values of one header, as the gateway joins them."""
        found = [value for other, value in self.pairs if other == name]
        return b",".join(found) if found else None


@dataclass
class Oracle:
    """A parser of requests. Subclasses feed it."""

    heads: list[Head] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    """Of complete requests; a head more than bodies means that a request is on its way."""
    refused: bool = False
    """It has found an error, or expects no further request."""

    def feed(self, data: bytes) -> None:
        raise NotImplementedError


class Llhttp(Oracle):
    """The parser that uvicorn prefers."""

    def __init__(self) -> None:
        super().__init__()
        self._parser = httptools.HttpRequestParser(self)
        self._url = self._body = b""
        self._pairs: Pairs = []

    def feed(self, data: bytes) -> None:
        if self.refused:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.refused = True  # uvicorn would have to look at the rest itself; the gateway forwards no upgrades
            self.bodies.pop()
        except httptools.HttpParserError:
            self.refused = True

    def on_message_begin(self) -> None:
        self._url = self._body = b""
        self._pairs = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._pairs.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        minor = {"1.1": 1, "1.0": 0}.get(self._parser.get_http_version(), -1)
        self.heads.append(Head(self._parser.get_method(), self._url, minor, list(self._pairs)))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.bodies.append(self._body)


class H11(Oracle):
    """The parser that uvicorn uses without httptools."""

    def __init__(self) -> None:
        super().__init__()
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        self._body = b""

    def feed(self, data: bytes) -> None:
        if self.refused or not data:
            return
        self._connection.receive_data(data)
        try:
            self._read_events()
        except h11.RemoteProtocolError:
            self.refused = True

    def _read_events(self) -> None:
        while not self.refused:
            event = self._connection.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Request):
                pairs = [(bytes(name), bytes(value)) for name, value in event.headers]
                minor = {b"1.1": 1, b"1.0": 0}.get(bytes(event.http_version), -1)
                self.heads.append(Head(bytes(event.method), bytes(event.target), minor, pairs))
                self._body = b""
            elif isinstance(event, h11.Data):
                self._body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.bodies.append(self._body)
                self._answer()

    def _answer(self) -> None:
        connection = self._connection
        connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        if connection.our_state is h11.DONE and connection.their_state is h11.DONE:
            connection.start_next_cycle()
        else:
            self.refused = True


@dataclass
class Step:
    """One step of the gateway's own reading: a head, or the body of the last head."""

    data: bytes
    head: RequestHead | None = None
    length: int = 0
    """Of the body that follows the head, when it is not chunked. A remembered head comes with any length."""
    body: bytes | None = None


def read_ours(data: bytes, rng: Random) -> Iterator[Step]:
    """Read as a connection does. Ends where the gateway refuses, waits for more, or does not go on."""
    memo: HeadMemo[RequestHead] | None = None
    while data:
        known = memo.match(data) if memo is not None else None
        if known is not None:
            assert memo is not None
            head, (end, length) = memo.head, known
        else:
            end = _find_end(data)
            if not end:
                return
            head = parse_head(data[:end], LIMITS)
            length = head.length
            memo = HeadMemo(data[:end], head, length)
        yield Step(data[:end], head, length)
        reader = LengthBody(length) if head.transfer_encoding is None else ChunkedBody(BODY_BYTES)
        rest, used = _read_body(reader, data[end:], rng)
        if rest is None:
            return
        yield Step(used, body=reader.take())
        if not head.keep_alive:
            return
        data = rest


def _find_end(data: bytes) -> int:
    return find_head_end(data, LIMITS)


def _read_body(reader: LengthBody | ChunkedBody, data: bytes, rng: Random) -> tuple[bytes | None, bytes]:
    """(what is left behind the body, the body's own bytes); None while the body is not complete."""
    taken = 0
    if reader.complete:
        return data, b""
    for piece in cut(data, rng):
        rest = reader.feed(piece)
        taken += len(piece)
        if reader.complete:
            end = taken - len(rest)
            return data[end:], data[:end]
    return None, data


def check_requests(data: bytes, rng: Random) -> Reading:
    """See the module."""
    oracles: list[Oracle] = [Llhttp(), H11()]
    requests = 0
    shape: list[Hashable] = []
    ending = "waits"
    fed = 0
    try:
        for step in read_ours(data, rng):
            fed += len(step.data)
            for oracle in oracles:
                oracle.feed(step.data)
            if step.head is not None:
                shape.append(_describe(step.head))
                for oracle in oracles:
                    _compare_head(step.head, step.length, oracle, requests)
            else:
                assert step.body is not None
                shape.append(len(step.body) > 0)
                requests += 1
                for oracle in oracles:
                    _compare_body(step.body, oracle, requests)
    except (BadHead, BadBody) as bad:
        ending = f"{bad.status} {bad.message}"
    else:
        _compare_rest(data[fed:], oracles, requests, len(shape) % 2 == 1)
    shape.append(re.sub(r"\d+", "N", ending))
    shape.append(tuple(oracle.refused for oracle in oracles))
    return Reading(ending == "waits" and requests > 0, tuple(shape))


def _describe(head: RequestHead) -> Hashable:
    """How a head was read, roughly: inputs that differ in it are kept."""
    return (
        head.method,
        head.minor,
        head.keep_alive,
        head.transfer_encoding is not None,
        head.content_length is not None,
        head.connection is not None,
        head.expect is not None,
        len(head.forwarded),
    )


def _compare_head(ours: RequestHead, length: int, oracle: Oracle, before: int) -> None:
    if oracle.refused:
        return
    name = type(oracle).__name__
    if len(oracle.heads) != before + 1:
        raise RuleBrokenError(f"{name} read {len(oracle.heads)} heads where the gateway read {before + 1}")
    theirs = oracle.heads[-1]
    said = (ours.method, ours.target, ours.minor)
    if (theirs.method, theirs.target, theirs.minor) != said:
        raise RuleBrokenError(f"{name} read the request line {theirs}, the gateway {said}")
    fields = {
        b"host": ours.host,
        b"content-type": ours.content_type,
        b"authorization": ours.authorization,
        b"x-api-key": ours.x_api_key,
        b"expect": ours.expect,
        b"origin": ours.origin,
        b"traceparent": ours.traceparent,
        b"x-request-id": ours.request_id,
    }
    for field_name, value in fields.items():
        if theirs.values(field_name) != value:
            raise RuleBrokenError(f"{name} read {field_name!r} as {theirs.values(field_name)!r}, the gateway {value!r}")
    if int(theirs.values(b"content-length") or b"0") != length:
        raise RuleBrokenError(f"{name} read {theirs.values(b'content-length')!r} as length, the gateway {length}")
    forwarded = [line.partition(b":") for line in ours.forwarded]
    for field_name in {line[0].lower() for line in forwarded}:
        values = [value.strip(b" \t") for other, _, value in forwarded if other.lower() == field_name]
        if theirs.values(field_name) != b",".join(values):
            raise RuleBrokenError(f"{name} read {field_name!r} otherwise than it is forwarded: {values}")


def _compare_body(body: bytes, oracle: Oracle, requests: int) -> None:
    if oracle.refused and len(oracle.bodies) < requests:
        return
    name = type(oracle).__name__
    if len(oracle.bodies) != requests or len(oracle.heads) != requests:
        raise RuleBrokenError(f"{name} is not at the end of request {requests}, where the gateway is")
    if oracle.bodies[-1] != body:
        raise RuleBrokenError(f"{name} read the body {oracle.bodies[-1]!r}, the gateway {body!r}")


def _compare_rest(rest: bytes, oracles: list[Oracle], requests: int, in_body: bool) -> None:
    """The gateway waits for more, or goes on with nothing: nobody may have read another request."""
    for oracle in oracles:
        if oracle.refused:
            continue
        oracle.feed(rest)
        if not oracle.refused and (len(oracle.bodies) > requests or len(oracle.heads) > requests + in_body):
            raise RuleBrokenError(f"{type(oracle).__name__} has read a request for which the gateway waits")


TOKENS = (
    b"transfer-encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:chunked\r\n",
    b"transfer-encoding: identity\r\n", b"transfer-encoding: \x0bchunked\r\n", b"transfer-encoding: chunked \r\n",
    b"content-length: 0\r\n", b"content-length: 5\r\n", b"Content-Length:5\r\n", b"content-length: 5 \r\n",
    b"content-length\t: 5\r\n", b"connection: close\r\n", b"connection: keep-alive\r\n",
    b"connection: content-length\r\n", b"connection: Upgrade\r\n", b"upgrade: h2c\r\n", b"host: other\r\n",
    b"content-type: multipart/form-data\r\n", b"expect: 100-continue\r\n", b"x: \r\n", b"x:a\r\n b\r\n", b": x\r\n",
    b"\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"05\r\nhello\r\n", b"5;a\r\nhello\r\n", b'5;a="\r\nhello\r\n',
    b"5 ;a\r\nhello\r\n", b"A\r\n0123456789\r\n", b"GET / HTTP/1.1\r\nhost: h\r\n\r\n", b"GET /x HTTP/1.0\r\n\r\n",
    b"t: 1\r\n", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/01.1", b"/%00", b"/..;/", b"#x", b"http://h/", b"*",
    b"GET", b"POST", b"CONNECT", b"PRI", b"M-SEARCH",
)  # fmt: skip


def fit_length(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Let the first Content-Length say the length of what follows, so that a changed request is read to its end."""
    head, separator, body = data.partition(b"\r\n\r\n")
    match = re.search(rb"content-length:[ \t]*(\d+)", head, re.IGNORECASE)
    if match is None or not separator:
        return data
    return head[: match.start(1)] + b"%d" % len(body) + head[match.end(1) :] + separator + body


def chunk_body(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Frame what follows the first head in chunks of many spellings."""
    head, separator, body = data.partition(b"\r\n\r\n")
    chunks = []
    for piece in cut(body[:200], rng):
        size = rng.choice((b"%x", b"%X", b"0%x", b"%x;a=b", b'%x;a="b"', b"%x ;a", b"000%x"))
        chunks.append(size % len(piece) + b"\r\n" + piece + b"\r\n")
    end = rng.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"00\r\n\r\n", b"0\r\nt: 1\r\n\r\n", b"0;x\r\n\r\n"))
    head = re.sub(rb"content-length:[^\r]*", b"transfer-encoding: chunked", head, flags=re.IGNORECASE)
    return head + separator + b"".join(chunks) + end


TARGET = Target(
    "requests",
    REQUESTS,
    mutations.one_of(
        (
            *mutations.ANYTHING,
            *mutations.LINES,
            mutations.insert_one_of(TOKENS),
            mutations.insert_one_of(TOKENS),
            fit_length,
            chunk_body,
        )
    ),
    check_requests,
)
