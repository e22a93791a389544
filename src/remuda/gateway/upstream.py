"""One connection to an engine: a request out, an answer in; kept alive between them.

llhttp tracks the answer's framing; what it decodes is handed on once per read, framed anew by the relay, so nothing
of an engine's framing (extensions, trailers, lengths) ever reaches a client. Does not know models, retries or clients.
`engines` keeps the idle ones, `flow` sends, `relay` takes.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from remuda.gateway.exchange import NEVER
from remuda.gateway.waiting import Signal
from remuda.policy.retry import Phase

if TYPE_CHECKING:
    from remuda.gateway.engines import Engine

_HEAD_BYTES = 64 * 1024
_SPLIT_BYTES = 16 * 1024
"""Larger bodies are written beside their head instead of being copied behind it."""


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


class Upstream(asyncio.Protocol):
    """See the module. Its life: idle → `send` → head known → `relay_to` → `release`."""

    __slots__ = (
        "_decoded_head",
        "_feed",
        "_head_bytes",
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
        "headers",
        "heard_s",
        "lost",
        "paused",
        "reused",
        "status",
        "timeout_s",
        "transport",
        "until_closed",
    )

    transport: asyncio.Transport
    answer: Signal["Upstream"]

    def __init__(self, engine: "Engine", on_lost: Callable[["Upstream"], None]) -> None:
        self.engine = engine
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self.lost = False
        self.busy = False
        self.reused = False
        self.paused = False
        self.deadline_s = NEVER
        self.heard_s = 0.0
        self.timeout_s = 0.0
        self._keep_alive = False
        self._poisoned = False
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._taker: Taker | None = None
        self._decoded_head = False
        self._head_bytes = 0
        self.complete = False
        self.chunked = False
        self.until_closed = False
        self.content_length: bytes | None = None

    # ---- from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            self._poisoned = True
            self.transport.abort()
            return
        self.heard_s = monotonic()
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            self._fail("it switched protocols")
            return
        except httptools.HttpParserError:
            self._fail("what it sent is not HTTP")
            return
        taker = self._taker
        if taker is None:
            self._await_head(data)
            return
        parts = self._parts
        if parts:
            payload = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            taker.take(payload)
        if self.complete:
            taker.end()

    def _await_head(self, data: bytes) -> None:
        """Until the body's first byte, nothing has begun: an engine that dies in prefill can still be replaced."""
        if self._parts or self.complete:
            self.answer.set(self)
            return
        self._head_bytes += len(data)
        if self._head_bytes > _HEAD_BYTES:
            self._fail("the head of its answer is too large")

    def eof_received(self) -> bool:
        if self.busy and self.until_closed and not self.complete:
            self.complete = True
            if self._taker is not None:
                self._taker.end()
            elif self._decoded_head:
                self.answer.set(self)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._on_lost(self)
        if self.busy and not self.complete:
            self._fail("it closed the connection")

    # ---- from llhttp

    def on_message_begin(self) -> None:
        if self.complete:
            self._poisoned = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        self.status = status
        self._decoded_head = True
        for name, value in self.headers:
            if name == b"content-length":
                self.content_length = value
            elif name == b"transfer-encoding":
                self.chunked = True
        if self.content_length is None and not self.chunked and status not in {204, 304}:
            self.until_closed = True

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if not self._decoded_head:
            self.headers.clear()  # 1xx: the real answer follows
            return
        self.complete = True
        # Must be asked here: a moment later the parser has begun the next message.
        self._keep_alive = self._parser.should_keep_alive()

    # ---- from the flow

    def send(self, head: bytes, body: bytes, timeout_s: float) -> Signal["Upstream"]:
        """Send a request; the signal is set when the head of its answer is known."""
        self._reset()
        self.busy = True
        self.answer = answer = Signal()
        self.deadline_s = monotonic() + timeout_s
        self.timeout_s = 0.0
        if len(body) > _SPLIT_BYTES:
            self.transport.writelines((head, body))
        else:
            self.transport.write(head + body)
        return answer

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream of events."""
        for name, value in self.headers:
            if name == b"content-type":
                return value.startswith(b"text/event-stream")
        return False

    def peek(self) -> bytes:
        """What of the body is here, without taking it."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    @property
    def waiting_bytes(self) -> int:
        return sum(map(len, self._parts))

    def take_parts(self) -> bytes:
        """What of the body came with the head."""
        parts = self._parts
        payload = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return payload

    def relay_to(self, taker: Taker, idle_timeout_s: float) -> None:
        """From now on the body goes to `taker`, read by read."""
        self._taker = taker
        self.timeout_s = idle_timeout_s
        self.heard_s = now_s = monotonic()
        self.deadline_s = now_s + idle_timeout_s

    @property
    def reusable(self) -> bool:
        return self.complete and self._keep_alive and not self._poisoned and not self.lost

    def release(self) -> None:
        """The request is over, one way or the other: back to the idle ones, or closed."""
        if not self.busy:
            return
        self.busy = False
        self._taker = None
        self.deadline_s = NEVER
        if self.paused:
            self.resume()
        if self.reusable and not self.transport.is_closing():
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
        if taker is not None:
            parts = self._parts
            if parts:
                payload = b"".join(parts)
                parts.clear()
                taker.take(payload)
            taker.broken(detail)
            return
        stale = self.reused and self.lost and not self.headers and not self._head_bytes
        self.answer.fail(AttemptFailed(Phase.SENT, detail, timed_out=timed_out, stale=stale))
