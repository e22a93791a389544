"""One connection to an engine: a request out, an answer in; kept alive between them.

llhttp tracks the answer's framing; what it decodes is handed on once per read and framed anew, so nothing of an
engine's framing (extensions, trailers, odd sizes) ever reaches a client. It is not asked about reads that leave it
where it was: a whole answer under a known head, and a chunk framed exactly as we frame it. An answer has begun with the
first byte of its body: until then an engine that dies in prefill can still be replaced. Does not know models, retries
or clients.
`engines` keeps the idle ones, `forward` sends, `relay` takes.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol, cast

import httptools

from remuda.gateway.head_memo import HeadMemo
from remuda.gateway.http.exchange import NEVER
from remuda.gateway.waiting import Signal
from remuda.policy.retry import Phase

if TYPE_CHECKING:
    from remuda.gateway.serving.directory import Engine
    from remuda.gateway.serving.relay import Relay

_HEAD_BYTES: Final = 64 * 1024
_SIZE_DIGITS: Final = 4
_CHUNK_SIZES: Final = {b"%x" % size: size for size in range(1, 4096)}
"""Chunk size lines exactly as we write them: anything else (extensions, capitals, zeros in front) is parsed."""
_EVENT_CHUNK_END: Final = b"\n\n\r\n"
_SPLIT_BYTES: Final = 16 * 1024
"""Larger bodies are written beside their head instead of being copied behind it."""

_LENGTH, _CODING, _TYPE, _DROP = range(4)
_MEANINGS: Final = {
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"content-type": _TYPE,
    # Hop-by-hop, or the gateway's own to say.
    **dict.fromkeys(
        (
            b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"upgrade", b"te", b"trailer",
            b"x-request-id", b"server", b"alt-svc", b"set-cookie", b"strict-transport-security",
        ),
        _DROP,
    ),
}  # fmt: skip


_HEAD_END: Final = b"\r\n\r\n"
_NO_BODY: Final = frozenset({204, 304})


class AnswerHead:
    """What was made of an answer's head; not changed afterwards, for it serves every answer with the same bytes."""

    __slots__ = ("lines", "status")

    def __init__(self, status: int, lines: bytes) -> None:
        self.status = status
        self.lines = lines


class AttemptFailed(Exception):  # noqa: N818 - what became of one try
    """One try ended without an answer. `stale`: a kept-alive connection the engine had already closed."""

    def __init__(self, phase: Phase, detail: str, *, timed_out: bool = False, stale: bool = False) -> None:
        super().__init__(detail)
        self.phase = phase
        self.detail = detail
        self.timed_out = timed_out
        self.stale = stale


class Taker(Protocol):
    """Takes an answer's body as it comes."""

    def take(self, payload: bytes) -> None: ...
    def end(self) -> None: ...
    def broken(self, detail: str) -> None: ...


class Upstream:
    """An `asyncio.Protocol` by its methods (a compiled class has no Python base); see the module.

    Its life: idle → `send` → the answer begins → `relay_to` → `release`.
    """

    __slots__ = (
        "_between_chunks",
        "_chunk_taker",
        "_fed",
        "_feed",
        "_head_bytes",
        "_headers",
        "_keep_alive",
        "_on_lost",
        "_parser",
        "_parts",
        "_poisoned",
        "_taker",
        "answer",
        "busy",
        "chunked",
        "complete",
        "content_length",
        "deadline_s",
        "engine",
        "heard_s",
        "lines",
        "lost",
        "paused",
        "reused",
        "status",
        "streams",
        "timeout_s",
        "transport",
    )

    transport: asyncio.Transport
    answer: Signal["Upstream"]

    def __init__(self, engine: "Engine", on_lost: Callable[["Upstream"], None]) -> None:
        self.engine = engine
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self.lost = self.busy = self.reused = self.paused = False
        self.deadline_s = NEVER
        self.heard_s = self.timeout_s = 0.0
        self._keep_alive = self._poisoned = False
        self._taker: Taker | None = None
        self._reset()

    def _reset(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._head_bytes = 0
        self._fed = False
        self._between_chunks = False
        self._chunk_taker: Relay | None = None
        self.status = 0
        self.lines = b""
        """The answer's header lines, as far as they go on to the client."""
        self.content_length: bytes | None = None
        self.complete = self.chunked = self.streams = False

    # ---- from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        """A request that the engine is slow to read waits in the transport: it is there already."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            self._poisoned = True
            self.transport.abort()
            return
        self.heard_s = monotonic()
        if not (self._fed or self.complete):
            memo = self.engine.answer_memo
            known = memo.match(data) if memo is not None else None
            if known is not None and known[0] + known[1] == len(data):
                assert memo is not None
                self._take_known(memo.head, data[known[0] :])
            else:
                self._parse_first(data)
            return
        if self._between_chunks and self._chunk_taker is not None:
            # Nearly every read of a stream is one chunk with one event, framed as we frame it: nothing to parse.
            end = data.find(b"\r\n", 0, _SIZE_DIGITS + 2)
            if len(data) - end - 4 == _CHUNK_SIZES.get(data[:end]) and data.endswith(_EVENT_CHUNK_END):
                self._chunk_taker.take_chunk(data, end + 2)
                return
        self._parse(data)

    def _take_known(self, head: AnswerHead, body: bytes) -> None:
        """A whole answer in one read, its head as one that was parsed before: the parser need not see it."""
        self.status = head.status
        self.lines = head.lines
        self.complete = self._keep_alive = True
        self._parts.append(body)
        self.answer.set(self)

    def _parse_first(self, data: bytes) -> None:
        self._fed = True
        self._parse(data)
        if self.complete:
            self._remember(data)

    def _remember(self, data: bytes) -> None:
        """Keep the head of a whole answer, so that the next one is recognised. Only what leaves nothing open."""
        length = self.content_length
        if length is None or self.chunked or self.streams or self.status in _NO_BODY or not self._keep_alive:
            return
        if data[:12] == b"HTTP/1.1 %d" % self.status:  # not a 1xx in front of it
            end = data.find(_HEAD_END) + len(_HEAD_END)
            head = AnswerHead(self.status, self.lines)
            self.engine.answer_memo = HeadMemo(data[:end], head, int(length))

    def _parse(self, data: bytes) -> None:
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            self._fail("it switched protocols")
            return
        except httptools.HttpParserError:
            self._fail("what it sent is not HTTP")
            return
        if self._between_chunks and not data.endswith(b"\r\n"):
            self._between_chunks = False  # part of the next size line is here
        parts = self._parts
        taker = self._taker
        if taker is None:
            if parts or self.complete:
                self.answer.set(self)
            else:
                self._bound_head(len(data))
            return
        if parts:
            payload = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            taker.take(payload)
        if self.complete:
            taker.end()

    def _bound_head(self, received: int) -> None:
        self._head_bytes += received
        if not self.status and self._head_bytes > _HEAD_BYTES:
            self._fail("the head of its answer is too large")

    def eof_received(self) -> bool:
        if self.busy and self.status and not self.complete and not self.chunked and self.content_length is None:
            self.complete = True  # an answer that ends with its connection
            if self._taker is not None:
                self._taker.end()
            else:
                self.answer.set(self)
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.lost = True
        self._on_lost(self)
        if self.busy and not self.complete:
            self._fail("it closed the connection")

    # ---- from llhttp

    def on_message_begin(self) -> None:
        if self.complete:
            self._poisoned = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        lines = []
        meanings = _MEANINGS
        for name, value in self._headers:
            meaning = meanings.get(name)
            if meaning is None:
                meaning = meanings.get(name.lower())
            if meaning is None or meaning == _TYPE:
                lines.append(b"%b: %b\r\n" % (name, value))
                if meaning is not None:
                    self.streams = value.startswith(b"text/event-stream")
            elif meaning == _LENGTH:
                self.content_length = value
            elif meaning == _CODING:
                self.chunked = True
        self.lines = b"".join(lines)
        self.status = status

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_chunk_header(self) -> None:
        self._between_chunks = False

    def on_chunk_complete(self) -> None:
        self._between_chunks = True

    def on_message_complete(self) -> None:
        if not self.status:
            self._headers.clear()  # 1xx: the real answer follows
            return
        self.complete = True
        # Must be asked here: a moment later the parser has begun the next message.
        self._keep_alive = self._parser.should_keep_alive()

    # ---- from the flow

    def send(self, head: bytes, body: bytes, deadline_s: float) -> Signal["Upstream"]:
        """Send a request; the signal is set when its answer has begun."""
        if self.reused:
            self._reset()
        self.busy = True
        answer: Signal[Upstream] = Signal()
        self.answer = answer
        self.deadline_s = deadline_s
        if len(body) > _SPLIT_BYTES:
            self.transport.write(head)
            self.transport.write(body)
        else:
            self.transport.write(head + body)
        return answer

    def peek(self) -> bytes:
        """What of the body is here, without taking it."""
        parts = self._parts
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def take_parts(self) -> bytes:
        """What of the body came so far."""
        parts = self._parts
        payload = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return payload

    def relay_to(self, taker: Taker, idle_timeout_s: float, chunk_taker: "Relay | None" = None) -> None:
        """From now on the body goes to `taker`, read by read; a chunk of whole events in one read to `chunk_taker`."""
        self._taker = taker
        self._chunk_taker = chunk_taker
        self.timeout_s = idle_timeout_s
        self.deadline_s = self.heard_s + idle_timeout_s

    def release(self) -> None:
        """The request is over, one way or the other: back to the idle ones, or closed."""
        if not self.busy:
            return
        self.busy = False
        self._taker = self._chunk_taker = None
        self.deadline_s = NEVER
        if self.paused:
            self.resume()
        if self.complete and self._keep_alive and not (self._poisoned or self.lost or self.transport.is_closing()):
            self.reused = True
            self.engine.keep(self)
        elif not self.lost:
            self.transport.abort()

    def pause(self) -> None:
        if not self.paused and not self.lost and not self.transport.is_closing():
            self.paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            self.heard_s = monotonic()
            if not self.lost and not self.transport.is_closing():
                self.transport.resume_reading()

    # ---- ends

    def on_deadline(self, now_s: float) -> None:
        """The sweeper: nothing was heard for too long, or an idle connection is old."""
        if not self.busy:
            self.deadline_s = NEVER
            self.transport.close()
        elif self._taker is None:
            self._fail("it did not begin to answer in time", timed_out=True)
        elif self.paused:
            self.deadline_s = now_s + self.timeout_s
        elif self.heard_s + self.timeout_s > now_s:
            self.deadline_s = self.heard_s + self.timeout_s
        else:
            self._fail(f"it sent nothing for {self.timeout_s:g} s")

    def _fail(self, detail: str, *, timed_out: bool = False) -> None:
        self.deadline_s = NEVER
        self._poisoned = True
        if not self.lost:
            self.transport.abort()
        taker = self._taker
        if taker is None:
            stale = self.reused and self.lost and not self._headers
            self.answer.fail(AttemptFailed(Phase.SENT, detail, timed_out=timed_out, stale=stale))
            return
        if self._parts:
            taker.take(self.take_parts())
        taker.broken(detail)
