"""One client connection: bytes in, requests out, one at a time and in order; bytes of the answer back.

The state of a connection is `_exchange`: None between requests (bytes are collected until a head is complete), else the
request being served; its body is read only when the flow asks for it, and whatever comes after it waits in a bounded
buffer. A FIN is a disconnect: whoever sends a request and closes is not waiting for the answer.

Deadlines are one attribute that the sweeper looks at, so that ten thousand idle connections cost no timers. Does not
know routes, models or engines. `app` creates one per accepted connection; `exchange` writes through it.
"""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, cast

from remuda.gateway.api import problems
from remuda.gateway.deadlines import NEVER
from remuda.gateway.flow import serve
from remuda.gateway.head_memo import HeadMemo
from remuda.gateway.http.body import BadBody, ChunkedBody, LengthBody
from remuda.gateway.http.exchange import ClientGone, Exchange
from remuda.gateway.http.head import BadHead, RequestHead, find_head_end, parse_head
from remuda.gateway.waiting import Signal

if TYPE_CHECKING:
    from remuda.gateway.app import Gateway

_MEMO_BYTES = 4096
"""Longer heads are not remembered: an idle connection would keep three copies of each."""
_LINGER_S = 2.0
_LINGER_BYTES = 1 << 20
"""How much of a refused body is read and thrown away, so that the client reads the answer before it sees a reset."""


class Connection:
    """An `asyncio.Protocol` by its methods (a compiled class has no Python base); see the module.

    `deadline_at` is when `on_deadline` wants to be called.
    """

    __slots__ = (
        "_awaiting_head",
        "_body_signal",
        "_buffer",
        "_exchange",
        "_gateway",
        "_linger_bytes",
        "_memo",
        "_paused_size",
        "_pumping",
        "_reader",
        "_reading_paused",
        "closed",
        "deadline_at",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._buffer = b""
        self._memo: HeadMemo[RequestHead] | None = None
        self._exchange: Exchange | None = None
        self._reader: LengthBody | ChunkedBody | None = None
        self._body_signal: Signal[bytes] | None = None
        self._pumping = False
        self._reading_paused = False
        self._linger_bytes = -1
        self._paused_size = -1
        self._awaiting_head = False
        self.closed = False
        self.deadline_at = NEVER

    # ---- from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        gateway = self._gateway
        if not gateway.admit_connection(self):
            self._refuse(problems.overloaded("any", 1))
            return
        self.deadline_at = monotonic() + gateway.settings.keep_alive_s

    def data_received(self, data: bytes) -> None:
        if self._linger_bytes >= 0:
            self._discard(data)
        elif self._reader is not None:
            self._feed_body(data)
        else:
            self._buffer = self._buffer + data if self._buffer else data
            if self._exchange is None and self._paused_size < 0:
                self._pump()
            elif len(self._buffer) > self._gateway.settings.pipeline_bytes:
                self._reading_paused = True
                self.transport.pause_reading()

    def eof_received(self) -> bool:
        if self._exchange is not None:
            self.transport.abort()  # closing would first wait until all that is written was read
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.closed = True
        self.deadline_at = NEVER
        self._gateway.forget_connection(self)
        exchange = self._exchange
        if exchange is not None:
            exchange.throw(ClientGone())
        self._buffer = b""
        self._drop_reader()

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.pause()
        self._paused_size = self.transport.get_write_buffer_size()
        self.deadline_at = monotonic() + self._gateway.settings.reader_timeout_s

    def resume_writing(self) -> None:
        self._paused_size = -1
        if self._exchange is not None:
            self.deadline_at = NEVER
            self._exchange.resume()
        elif self._linger_bytes < 0 and not self.transport.is_closing():
            self._go_on()

    # ---- requests

    def _pump(self) -> None:
        """Serve what is in the buffer, one request after the other, without recursion.

        Who does not read the answers it has gets no further ones: they would all wait in our memory.
        """
        if self._pumping:
            return
        self._pumping = True
        while (
            self._exchange is None
            and self._buffer
            and self._paused_size < 0
            and not self.closed
            and self._linger_bytes < 0
        ):
            memo = self._memo
            known = memo.match(self._buffer) if memo is not None else None
            if known is not None:
                assert memo is not None
                head = memo.head
                end, length = known
            else:
                parsed = self._parse_head()
                if parsed is None:
                    break
                head, end = parsed
                length = head.length
            self._buffer = self._buffer[end:]
            self._serve(head, length)
        self._pumping = False

    def _parse_head(self) -> tuple[RequestHead, int] | None:
        """The next head and where it ends; None when there is none, yet or any more."""
        limits = self._gateway.head_limits
        try:
            end = find_head_end(self._buffer, limits)
            if not end:
                self._await_head()
                return None
            data = self._buffer[:end]
            head = parse_head(data, limits)
        except BadHead as bad:
            self._refuse_head(bad)
            return None
        self._memo = HeadMemo(data, head, head.length) if end <= _MEMO_BYTES else None
        return head, end

    def _await_head(self) -> None:
        """Only the head's first byte starts the clock: a byte now and then must not keep a connection."""
        if not self._awaiting_head:
            self._awaiting_head = True
            self.deadline_at = monotonic() + self._gateway.settings.head_timeout_s

    def _serve(self, head: RequestHead, length: int) -> None:
        self._awaiting_head = False
        self.deadline_at = NEVER
        gateway = self._gateway
        exchange = self._exchange = Exchange(gateway, self, head, length)
        exchange.coroutine = serve(gateway, exchange)
        exchange.advance()

    def take_body(self, head: RequestHead, length: int) -> bytes | None:
        """The body when all of it is here already."""
        buffer = self._buffer
        if head.transfer_encoding is not None or length > len(buffer):
            return None
        self._buffer = buffer[length:]
        return buffer[:length]

    def read_body(self, head: RequestHead, length: int, limit: int) -> Signal[bytes]:
        """Read the body from now on. Nothing of it is decoded or asked for before this is called."""
        buffer = self._buffer
        self._buffer = b""
        self._reader = LengthBody(length) if head.transfer_encoding is None else ChunkedBody(limit)
        signal = self._body_signal = Signal()
        if head.expect is not None and head.minor and not buffer:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._feed_body(buffer)
        return signal

    def _feed_body(self, data: bytes) -> None:
        reader = self._reader
        assert reader is not None
        try:
            rest = reader.feed(data)
        except BadBody as bad:
            signal, self._body_signal = self._body_signal, None
            self._reader = None
            if signal is not None:
                signal.fail(bad)
            return
        if not reader.complete:
            self.deadline_at = monotonic() + self._gateway.settings.body_timeout_s
            return
        self.deadline_at = NEVER
        self._reader = None
        self._buffer = rest
        signal, self._body_signal = self._body_signal, None
        if signal is not None:
            signal.set(reader.take())

    def finish(self, keep_alive: bool, unread_body: bool) -> None:
        """The answer is written. Go on with the next request, or close."""
        self._exchange = None
        if self.closed:
            return
        if unread_body or self._reader is not None:
            self._linger()
        elif not keep_alive or self._gateway.draining:
            self.transport.close()
        elif self._paused_size < 0:
            self._go_on()

    def _go_on(self) -> None:
        """With the next request, here or to come."""
        self.deadline_at = monotonic() + self._gateway.settings.keep_alive_s
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        if self._buffer:
            self._pump()

    # ---- ends

    def _refuse_head(self, bad: BadHead) -> None:
        """Answer bytes that are no request. What follows them cannot be read either."""
        self._buffer = b""
        problem = problems.malformed_http(bad.message)
        if bad.status in {414, 431}:
            problem = problems.headers_too_large(self._gateway.settings.head_bytes)
        self._gateway.ledger.count_malformed(problem.outcome)
        self._refuse(problem, bad.status)

    def _refuse(self, problem: problems.Problem, status: int | None = None) -> None:
        exchange = Exchange(self._gateway, self, RequestHead(b"GET", b"/", 1), 0)
        exchange.keep_alive = False
        exchange.cors = self._gateway.cors.lines_for(None)
        exchange.write_problem(problem, status)
        self._linger()

    def _linger(self) -> None:
        """Stop sending, and read a little of what still comes, or the kernel answers it with a reset."""
        self._drop_reader()
        self._buffer = b""
        self._linger_bytes = 0
        self.deadline_at = monotonic() + _LINGER_S
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _discard(self, data: bytes) -> None:
        self._linger_bytes += len(data)
        if self._linger_bytes > _LINGER_BYTES:
            self.transport.close()

    def _drop_reader(self) -> None:
        self._reader = None
        self._body_signal = None

    def on_deadline(self, now_at: float) -> None:
        """The sweeper: what this connection was given time for did not happen."""
        if self._paused_size >= 0:
            self._cut_stuck_reader(now_at)
        elif self._linger_bytes >= 0 or (self._exchange is None and not self._buffer):
            self.deadline_at = NEVER
            self.transport.abort()
        elif self._exchange is None:
            self._buffer = b""
            self._refuse(problems.request_timeout(self._gateway.settings.head_timeout_s))
        elif self._body_signal is not None:
            signal, self._body_signal = self._body_signal, None
            signal.fail(TimeoutError())

    def _cut_stuck_reader(self, now_at: float) -> None:
        size = self.transport.get_write_buffer_size()
        if size < self._paused_size:
            self._paused_size = size
            self.deadline_at = now_at + self._gateway.settings.reader_timeout_s
            return
        self.deadline_at = NEVER
        if self._exchange is not None:
            self._exchange.reader_stuck = True
        self.transport.abort()

    def drain(self) -> None:
        """The gateway shuts down: an idle connection closes, a busy one after its answer."""
        if self._exchange is None and self._linger_bytes < 0:
            self.transport.close()
