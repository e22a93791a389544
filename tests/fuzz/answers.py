"""Target: what engines send. The input is everything that arrives on one connection, whatever requests were sent.

The rules, for a connection that carries up to three requests, however its bytes are cut:

* No exception escapes, and each request hears of exactly one end once the connection is closed.
* A request that finds the connection idle is answered exactly as on a fresh connection: nothing of an answer is left
  in the parser, in the memory of heads, or in between.
* The answer does not depend on where the bytes were cut, and h11, if it accepts the answer, reads the same one.
* Header lines that go on are well formed, and none is among those that only the gateway may say.
"""

import asyncio
import re
from dataclasses import dataclass, field
from random import Random
from typing import Any

import h11
from tests.fuzz import mutations
from tests.fuzz.corpus.answers import ANSWERS, chunk
from tests.fuzz.running import Reading, RuleBrokenError, Target, cut

from remuda.gateway.upstream.connection import Owner, Upstream
from remuda.gateway.upstream.taker import AttemptFailed, Taker

LINES = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9a-z-]+: [^\r\n\0]*\r\n)*\Z")
NOT_FOR_CLIENTS = re.compile(
    rb"^(?:connection|keep-alive|transfer-encoding|content-length|upgrade|te|trailer|via|server|set-cookie|location"
    rb"|x-request-id|x-remuda-[^:]*|access-control-[^:]*|proxy-[^:]*):",
    re.MULTILINE,
)
NEVER = float("inf")


class Wire(asyncio.Transport):
    """A transport that knows only whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: Any) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Engine(Owner):
    """Remembers a head, and which connections it got back."""

    def __init__(self) -> None:
        self.own = False
        self.answer_memo = None
        self.id_line = b""
        self.kept: list[Upstream] = []

    def keep(self, upstream: Upstream) -> None:
        self.kept.append(upstream)

    def forget(self, upstream: Upstream) -> None: ...


@dataclass
class Answer:
    """What became of one request."""

    status: int = 0
    lines: bytes = b""
    streams: bool = False
    body: bytes = b""
    end: str = "waits"
    """waits, failed (no answer began), complete or broken"""

    @property
    def said(self) -> tuple[int, bytes, bool, bytes, bool]:
        """Everything about a complete answer; nothing about others, for a fault may be seen earlier or later."""
        if self.end != "complete":
            return 0, b"", False, b"", False
        return self.status, self.lines, self.streams, self.body, True


class Request(Taker):
    """One request on a connection: sends, takes the answer when it begins, and notes what it hears."""

    def __init__(self, upstream: Upstream, patience: int = 0) -> None:
        self.upstream = upstream
        self.answer = Answer()
        self.over = False
        self.reads: list[bytes] = []
        self.patience = patience
        """Reads that pass before the answer is taken, as when a step in between waits."""
        self._taking = False
        self._signal = upstream.send(b"POST / HTTP/1.1\r\nhost: h\r\n\r\n", b"", NEVER)

    def read(self, data: bytes) -> None:
        self.reads.append(data)
        self.upstream.data_received(data)
        self.go_on()

    def go_on(self) -> None:
        """The flow: it takes the answer when it has begun and its own patience is over."""
        if self._taking or self.over or not self._signal.done:
            return
        if self.patience and not self.upstream.complete:
            self.patience -= 1
            return
        try:
            next(self._signal.__await__())
        except AttemptFailed:
            self._finish("failed")
            return
        except StopIteration:
            pass
        self._take()

    def _take(self) -> None:
        upstream, head = self.upstream, self.upstream.head
        self._taking = True
        self.answer = Answer(head.status, head.lines, head.streams, upstream.take_parts())
        if upstream.complete:
            self._finish("complete")
        else:
            upstream.relay_to(self, 60.0, takes_chunks=head.chunked and head.streams)

    def _finish(self, end: str) -> None:
        if self.over:
            raise RuleBrokenError(f"a second end: {end} after {self.answer.end}")
        self.over = True
        self.answer.end = end
        self.upstream.release()

    def take(self, payload: bytes) -> None:
        if self.over or not payload:
            raise RuleBrokenError(f"{payload!r} after the end of an answer")
        self.answer.body += payload

    def take_chunk(self, chunk: bytes, start: int) -> None:
        if chunk[:start] != b"%x\r\n" % (len(chunk) - start - 2) or chunk[-2:] != b"\r\n":
            raise RuleBrokenError(f"{chunk!r} is no chunk with its payload at {start}")
        self.take(chunk[start:-2])

    def end(self) -> None:
        self._finish("complete")

    def broken(self, detail: str) -> None:
        self._finish("broken")


def open_connection(engine: Engine) -> tuple[Upstream, Wire]:
    upstream, wire = Upstream(engine), Wire()
    upstream.connection_made(wire)
    return upstream, wire


def close_connection(upstream: Upstream) -> None:
    upstream.eof_received()
    upstream.connection_lost(None)


@dataclass
class Story:
    """What happened on one connection."""

    requests: list[Request] = field(default_factory=list)
    closed: bool = False
    """The engine has closed its end behind the last request."""


def play(data: bytes, rng: Random) -> Story:
    """Up to three requests on one connection, answered by `data`."""
    engine, story = Engine(), Story()
    upstream, wire = open_connection(engine)
    request = Request(upstream, rng.choice((0, 0, 1, 2)))
    story.requests.append(request)
    for piece in cut(data, rng):
        if request.over and engine.kept and len(story.requests) < 3 and rng.random() < 0.8:
            engine.kept.clear()
            request = Request(upstream, rng.choice((0, 0, 1)))
            story.requests.append(request)
        if wire.closed:
            break
        if request.over:
            upstream.data_received(piece)  # an idle connection on which the engine speaks
            if not wire.closed:
                raise RuleBrokenError("an idle connection goes on after the engine has spoken")
        else:
            request.read(piece)
    if not request.over:
        story.closed = True
        close_connection(upstream)
        request.patience = 0
        request.go_on()
    if not request.over:
        raise RuleBrokenError("the connection is closed and the request has not ended")
    return story


def replay(reads: list[bytes], closed: bool) -> Answer:
    """One request alone, on a fresh connection of an engine that remembers nothing."""
    upstream, _ = open_connection(Engine())
    request = Request(upstream)
    for read in reads:
        if not request.over:
            request.read(read)
    if closed and not request.over:
        close_connection(upstream)
        request.go_on()
    return request.answer


def check_answers(data: bytes, rng: Random) -> Reading:
    """See the module."""
    story = play(data, rng)
    shape: list[object] = []
    for request in story.requests:
        answer = request.answer
        closed = story.closed and request is story.requests[-1]
        alone = replay(request.reads, closed)
        if alone.said != answer.said:
            raise RuleBrokenError(f"{answer} on a used connection, {alone} on a fresh one")
        whole = replay([b"".join(request.reads)], closed)
        if whole.said != answer.said:
            raise RuleBrokenError(f"{answer} in {len(request.reads)} reads, {whole} in one")
        _check_lines(answer.lines)
        _compare_with_h11(request.reads, closed, answer)
        shape.append((answer.status, answer.streams, answer.end, len(answer.body) > 0, answer.lines.count(b"\n")))
    return Reading(story.requests[0].answer.end == "complete", (tuple(shape), story.closed))


def _check_lines(lines: bytes) -> None:
    if LINES.match(lines) is None:
        raise RuleBrokenError(f"header lines that are not well formed: {lines!r}")
    found = NOT_FOR_CLIENTS.search(lines)
    if found is not None:
        raise RuleBrokenError(f"{found[0]!r} goes on to the client")


def _compare_with_h11(reads: list[bytes], closed: bool, ours: Answer) -> None:
    theirs = _read_with_h11(reads, closed)
    if theirs is None:
        return
    if ours.end == "complete" and (theirs.status, theirs.body, theirs.end) != (ours.status, ours.body, "complete"):
        raise RuleBrokenError(f"h11 read {theirs}, the gateway {ours}")
    if ours.end == "waits" and theirs.end == "complete":
        raise RuleBrokenError(f"h11 read {theirs}, the gateway waits for more")


def _read_with_h11(reads: list[bytes], closed: bool) -> Answer | None:
    """The first answer, as h11 reads it; None when it refuses it."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "h"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    answer = Answer()
    try:
        for read in [*reads, *([b""] if closed else [])]:
            connection.receive_data(read)
            if _take_events(connection, answer):
                break
    except h11.RemoteProtocolError:
        return None
    return answer


def _take_events(connection: h11.Connection, answer: Answer) -> bool:
    """Whether the answer is complete now."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            answer.status = event.status_code
        elif isinstance(event, h11.Data):
            answer.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            answer.end = "complete"
            return True
        elif not isinstance(event, h11.InformationalResponse):
            return False


TOKENS = (
    b"content-length: 2\r\n", b"content-length: 5\r\n", b"Content-Length: 05\r\n", b"transfer-encoding: chunked\r\n",
    b"transfer-encoding: gzip, chunked\r\n", b"connection: close\r\n", b"connection: keep-alive\r\n",
    b"connection: x-a\r\n", b"connection: content-type\r\n", b"content-type: text/event-stream\r\n",
    b"content-type: application/json\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 304 x\r\n\r\n", b"HTTP/1.1 200\r\n",
    b"HTTP/1.1 101 x\r\n\r\n", b"0\r\n\r\n", b"\r\n", b"\r\n\r\n", b"5\r\nhello\r\n", b"9\r\ndata: x\n\n\r\n",
    b"3\r\na\n\n\r\n", b"09\r\ndata: x\n\n\r\n", b"9;a\r\ndata: x\n\n\r\n", b"x-a: 1\r\n", b"\n\n", b"0", b"x: \r\n",
    b"set-cookie: a\r\n", b"X-Remuda-Hop: x\r\n", b"Access-Control-Allow-Origin: *\r\n", b"x-request-id: 1\r\n",
)  # fmt: skip


def cut_into_chunks(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Frame what follows the first head in chunks, some of which are whole events."""
    head, separator, body = data.partition(b"\r\n\r\n")
    head = re.sub(rb"content-length:[^\r]*", b"transfer-encoding: chunked", head, flags=re.IGNORECASE)
    pieces = [piece + rng.choice((b"", b"\n\n")) for piece in cut(body[:300], rng)]
    return head + separator + b"".join(chunk(piece) for piece in pieces) + b"0\r\n\r\n"


TARGET = Target(
    "answers",
    ANSWERS,
    mutations.one_of(
        (
            *mutations.ANYTHING,
            *mutations.LINES,
            mutations.insert_one_of(TOKENS),
            mutations.insert_one_of(TOKENS),
            mutations.append,
            cut_into_chunks,
        )
    ),
    check_answers,
)
