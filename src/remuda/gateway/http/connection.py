"""One client connection: bytes in, requests out, one at a time and in order; bytes of the answer back.

The state of a connection is `_exchange`: None between requests (bytes are collected until a head is complete), else the
request that is being served. The body of a request is read only when the flow asks for it; whatever comes after it
waits in a bounded buffer. A FIN counts as a disconnect: a client that sends a request and closes does not wait for the
answer.

No client keeps the event loop for long: pipelined requests are served a few at a time and bodies are decoded in slices;
other connections get their turn in between. Does not know routes, models or engines.
"""

import asyncio
import socket
from time import monotonic
from typing import Final, cast

from remuda.gateway.deadlines import NEVER
from remuda.gateway.head_memo import HeadMemo
from remuda.gateway.http.body import BadBody, ChunkedBody, LengthBody
from remuda.gateway.http.body_budget import BodyBudget
from remuda.gateway.http.clients import Clients, Entry
from remuda.gateway.http.exchange import BodySink, ClientGone, Exchange, Link
from remuda.gateway.http.head import BadHead, RequestHead, find_head_end, parse_head
from remuda.gateway.http.refusal import Reason, Refusal
from remuda.gateway.waiting import Signal

_MEMO_BYTES: Final = 4096
"""Longer heads are not remembered: an idle connection would keep three copies of each."""
_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 1 << 20
"""Bytes that are read and thrown away after a refusal, so that the client reads the answer before it sees a reset."""
_BURST: Final = 16
"""Pipelined requests served before other connections get their turn."""
_SLICE_BYTES: Final = 16 * 1024
"""Bytes of a chunked body decoded before other connections get their turn: in the worst case 2,700 chunks of a byte."""
_TURN_BYTES: Final = 250_000
"""Bytes of one body that are read before other connections get their turn. The event loop would read 8 MB from a fast
client at once, which takes 5 ms and more."""
_LOOK_S: Final = 0.5
"""How often a connection that is not read is asked whether its client has left: a FIN waits behind unread bytes."""
_TCP_ESTABLISHED: Final = 1


class Connection(Link):
    """An `asyncio.Protocol` by its methods (a compiled class has no Python base); see the module."""

    transport: asyncio.Transport

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._settings = clients.settings
        self._timeouts = clients.settings.timeouts
        self._entry = Entry.REFUSED
        self._peer: str | None = None
        self._buffer = b""
        self._memo: HeadMemo[RequestHead] | None = None
        self._exchange: Exchange | None = None
        self._reader: LengthBody | ChunkedBody | None = None
        self._body_signal: Signal[bytes] | None = None
        self._sink: BodySink | None = None
        self._unfed = b""
        """Received bytes of a chunked body that wait for the next slice."""
        self._upload_until_at = NEVER
        self._pumping = False
        self._reading_paused = False
        self._turn_bytes = 0
        self._awaiting_head = False
        self._ending = False
        """No further request is served: the connection closes when what was written is out."""
        self._linger_bytes = -1
        """Bytes thrown away since the connection began to linger; -1 while it does not."""
        self._unsent_bytes = -1
        """Written bytes that the client has not taken, when it was last looked at; -1 while it reads fast enough."""
        self.closed = False
        self._due_at = NEVER
        """When the client is late. `deadline_at` is earlier while it is looked at now and then."""
        self.deadline_at = NEVER

    # ---- from the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.write = self.transport.write
        self._entry = self._clients.enter(self)
        if self._entry is Entry.REFUSED:
            self._refuse(Refusal(Reason.CONNECTIONS_FULL))
            return
        self._set_due(monotonic() + self._bound_wait(self._timeouts.keep_alive_s))

    def data_received(self, data: bytes) -> None:
        if self._ending:
            self._discard(data)
        elif self._reader is not None:
            self._feed_body(data)
        else:
            self._buffer = self._buffer + data if self._buffer else data
            if self._exchange is None and self._unsent_bytes < 0 and not self._pumping:
                self._pump()
            elif len(self._buffer) > self._settings.pipeline_bytes:
                self._pause_reading()

    def eof_received(self) -> bool:
        if self._exchange is not None:
            self.transport.abort()  # close() would first wait until the client has read everything
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.closed = True
        self._ending = True
        self._set_due(NEVER)
        self._clients.leave(self, self._entry)
        exchange = self._exchange
        if exchange is not None:
            exchange.throw(ClientGone())
        self._forget_input()

    def pause_writing(self) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.pause()
        self._watch_reader(monotonic())

    def resume_writing(self) -> None:
        self._unsent_bytes = -1
        exchange = self._exchange
        if self._ending:
            self._watch_reader(monotonic())
        elif exchange is not None:
            self._set_due(self._upload_due())
            exchange.resume()
        else:
            self._go_on()

    # ---- requests

    def _pump(self) -> None:
        """Serve what is in the buffer, one request after the other, without recursion.

        A client that does not read the answers it has gets no further ones: they would all wait in our memory.
        """
        self._pumping = True
        served = 0
        while self._exchange is None and self._buffer and self._unsent_bytes < 0 and not self._ending:
            if served == _BURST:
                asyncio.get_running_loop().call_soon(self._pump_again)
                return
            served += 1
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

    def _pump_again(self) -> None:
        """The next burst. While it was awaited, the connection may have ended."""
        self._pumping = False
        if self._ending:
            return
        self._pump()
        if self._exchange is None and not self._pumping:
            self._resume_reading()

    def _parse_head(self) -> tuple[RequestHead, int] | None:
        """The next head and where it ends; None when it is not complete, or was refused."""
        limits = self._clients.head_limits
        try:
            end = find_head_end(self._buffer, limits)
            if not end:
                self._await_head()
                return None
            data = self._buffer[:end]
            head = parse_head(data, limits)
        except BadHead as bad:
            reason = Reason.HEAD_TOO_LARGE if bad.status in (414, 431) else Reason.MALFORMED
            self._refuse(Refusal(reason, bad.message, bad.status))
            return None
        self._memo = HeadMemo(data, head, head.length) if end <= _MEMO_BYTES else None
        return head, end

    def _await_head(self) -> None:
        """Only the first byte of a head starts the clock: a byte now and then must not keep a connection."""
        if not self._awaiting_head:
            self._awaiting_head = True
            self._set_due(monotonic() + self._bound_wait(self._timeouts.header_s))

    def _bound_wait(self, wait_s: float) -> float:
        """How long a client may take: connections beyond the limit are few, so a probe must be quick."""
        return wait_s if self._entry is Entry.SERVED else min(wait_s, _LINGER_S)

    def _serve(self, head: RequestHead, length: int) -> None:
        self._awaiting_head = False
        self._set_due(NEVER)
        exchange = self._exchange = Exchange(self, head, length)
        if self._entry is not Entry.SERVED:
            exchange.probe_only = True
            exchange.keep_alive = False
        exchange.coroutine = self._clients.handler.serve(exchange)
        exchange.advance()

    def finish(self, keep_alive: bool, unread_body: bool) -> None:
        self._exchange = None
        if self._ending:
            return
        if unread_body or self._reader is not None:
            self._linger()
        elif not keep_alive or self._clients.draining:
            self._end()
        elif self._unsent_bytes < 0:
            self._go_on()

    def _go_on(self) -> None:
        """Wait for the next request, or serve it when it is here."""
        if self._reading_paused:
            self._resume_reading()
        self._set_due(monotonic() + self._timeouts.keep_alive_s)
        if self._buffer and not self._pumping:
            self._pump()

    # ---- the body of a request

    def take_body(self, head: RequestHead, length: int) -> bytes | None:
        buffer = self._buffer
        if head.transfer_encoding is not None or length > len(buffer):
            return None
        self._buffer = buffer[length:]
        return buffer[:length]

    def read_body(self, exchange: Exchange, limit: int) -> Signal[bytes]:
        """Nothing of the body is decoded, and the client is not told to send it, before this is called."""
        signal = self._body_signal = Signal()
        self._begin_body(exchange, limit)
        return signal

    def stream_body(self, exchange: Exchange, limit: int, sink: BodySink) -> None:
        self._sink = sink
        self._begin_body(exchange, limit)

    def _begin_body(self, exchange: Exchange, limit: int) -> None:
        head, buffer = exchange.head, self._buffer
        self._buffer = b""
        self._reader = LengthBody(exchange.length) if head.transfer_encoding is None else ChunkedBody(limit)
        self._upload_until_at = monotonic() + self._settings.upload_timeout_s
        if head.expect is not None and head.minor and not buffer:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._feed_body(buffer)
        if self._reading_paused and not self._unfed:
            self._resume_reading()  # it was paused while a step between head and body took its time

    def pause_body(self) -> None:
        self._pause_reading()

    def resume_body(self) -> None:
        self._resume_reading()

    def _feed_body(self, data: bytes) -> None:
        """Decode received bytes of the body, a slice at a time."""
        if self._unfed:
            self._unfed += data
            if len(self._unfed) > self._settings.pipeline_bytes:
                self._pause_reading()
            return
        self._turn_bytes += len(data)
        if self._turn_bytes > _TURN_BYTES and self._sink is None and not self._reading_paused:
            self._pause_reading()
            self._clients.turns.call(self._begin_turn)
        if len(data) > _SLICE_BYTES and isinstance(self._reader, ChunkedBody):
            self._unfed = data[_SLICE_BYTES:]
            asyncio.get_running_loop().call_soon(self._feed_next_slice)
            data = data[:_SLICE_BYTES]
        self._feed_slice(data)

    def _begin_turn(self) -> None:
        """Read on. Other connections had their turn."""
        self._turn_bytes = 0
        if self._reading_paused and len(self._unfed) + len(self._buffer) <= self._settings.pipeline_bytes:
            self._resume_reading()

    def _feed_next_slice(self) -> None:
        """Other connections had their turn."""
        data, self._unfed = self._unfed, b""
        if self._ending:
            return
        if self._reader is None:
            self._buffer += data
            return
        self._feed_body(data)
        if self._reading_paused and not self._unfed and self._reader is not None:
            self._resume_reading()

    def _feed_slice(self, data: bytes) -> None:
        reader, exchange = self._reader, self._exchange
        assert reader is not None
        assert exchange is not None
        before = reader.stored_bytes
        try:
            rest = reader.feed(data)
            if self._sink is None:
                exchange.hold_body(reader.stored_bytes - before)
        except BadBody as bad:
            reason = Reason.BODY_TOO_LARGE if bad.status == 413 else Reason.MALFORMED
            self._fail_body(Refusal(reason, bad.message))
            return
        except Refusal as refusal:
            self._fail_body(refusal)
            return
        sink = self._sink
        if sink is not None and reader.stored_bytes > before:
            sink.take_part(reader.take())
        if not reader.complete:
            self._set_due(self._upload_due())
            return
        self._reader = None
        self._set_due(NEVER)
        if self._unfed:
            rest, self._unfed = rest + self._unfed, b""
        self._buffer = rest
        signal, self._body_signal = self._body_signal, None
        if signal is not None:
            signal.set(reader.take())
        if sink is not None:
            self._sink = None
            exchange.body_read = True
            sink.end_body()

    def _fail_body(self, refusal: Refusal) -> None:
        """The body cannot be had. What still comes of it is not a request: the connection ends with the answer."""
        self._reader = None
        self._set_due(NEVER)
        signal, self._body_signal = self._body_signal, None
        if signal is not None:
            signal.fail(refusal)
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.fail_body(refusal)

    # ---- reading

    def _pause_reading(self) -> None:
        if self._reading_paused or self.closed:
            return
        self._reading_paused = True
        self.transport.pause_reading()
        self._set_due(self._due_at if self._reader is None else self._upload_due())

    def _resume_reading(self) -> None:
        if self._reading_paused and not self.transport.is_closing():
            self._reading_paused = False
            self.transport.resume_reading()
            self._set_due(self._due_at if self._reader is None else self._upload_due())

    def _client_has_left(self) -> bool:
        """Whether a FIN or RST has arrived behind bytes that were not read. Linux only, as the whole gateway."""
        sock = self.transport.get_extra_info("socket")
        try:
            state: int = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        except OSError:
            return False
        return state != _TCP_ESTABLISHED

    # ---- ends

    def _refuse(self, refusal: Refusal) -> None:
        """Answer bytes that are no request. What follows them cannot be read either."""
        self._buffer = b""
        exchange = Exchange(self, RequestHead(b"GET", b"/", 1), 0)
        exchange.keep_alive = False
        self._clients.handler.refuse(exchange, refusal)
        self._linger()

    def _end(self) -> None:
        """Close when everything that was written is out. Requests behind the last one are not served."""
        if self._buffer or self._unfed:
            self._linger()
            return
        self._ending = True
        self.transport.close()
        if not self.closed and self.transport.get_write_buffer_size():
            self._watch_reader(monotonic())

    def _linger(self) -> None:
        """Stop sending, and read a little of what still comes, or the kernel answers it with a reset."""
        self._ending = True
        self._forget_input()
        self._linger_bytes = 0
        if self._reading_paused:
            self._resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        now_at = monotonic()
        self._set_due(now_at + _LINGER_S)
        if self.transport.get_write_buffer_size():
            self._watch_reader(now_at)

    def _discard(self, data: bytes) -> None:
        self._linger_bytes += len(data)
        if self._linger_bytes > _LINGER_BYTES:
            self.transport.close()

    def _forget_input(self) -> None:
        self._buffer = self._unfed = b""
        self._reader = None
        self._body_signal = None
        self._sink = None

    def cut(self) -> None:
        self._ending = True
        self.transport.abort()

    def drain(self) -> None:
        if self._exchange is None and not self._ending:
            self._end()

    # ---- deadlines

    def _set_due(self, due_at: float) -> None:
        """The client is late from `due_at` on. While it is not read, it is looked at now and then: it may have left."""
        self._due_at = due_at
        self.deadline_at = min(due_at, monotonic() + _LOOK_S) if self._reading_paused else due_at

    def _upload_due(self) -> float:
        """When a body is late, if one is read. Silence counts only while the client can send."""
        if self._reader is None:
            return NEVER
        if self._reading_paused:
            return self._upload_until_at
        return min(monotonic() + self._timeouts.body_s, self._upload_until_at)

    def _watch_reader(self, now_at: float) -> None:
        """From now on the client must take some of what was written in every `reader_timeout_s`."""
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._set_due(now_at + self._settings.reader_timeout_s)

    def on_deadline(self, now_at: float) -> None:
        if self._reading_paused and self._client_has_left():
            self.transport.abort()
        elif now_at < self._due_at:
            self._set_due(self._due_at)  # it was only time to look
        elif self._unsent_bytes >= 0:
            self._judge_reader(now_at)
        elif self._ending or (self._exchange is None and not self._buffer):
            self._set_due(NEVER)
            self.transport.abort()
        elif self._exchange is None:
            served = self._entry is Entry.SERVED
            self._refuse(Refusal(Reason.HEAD_TIMEOUT if served else Reason.CONNECTIONS_FULL))
        elif self._reader is not None:
            late = now_at >= self._upload_until_at
            self._fail_body(Refusal(Reason.UPLOAD_TIMEOUT if late else Reason.BODY_TIMEOUT))
        else:
            self._set_due(NEVER)

    def _judge_reader(self, now_at: float) -> None:
        """Cut a client that has taken nothing of its answer for too long."""
        if self.transport.get_write_buffer_size() < self._unsent_bytes:
            self._watch_reader(now_at)
            return
        self._set_due(NEVER)
        if self._exchange is not None:
            self._exchange.reader_stuck = True
        self.transport.abort()

    # ---- what an exchange asks

    @property
    def bodies(self) -> BodyBudget:
        return self._clients.bodies

    @property
    def draining(self) -> bool:
        return self._clients.draining

    @property
    def peer(self) -> str:
        if self._peer is None:
            address = self.transport.get_extra_info("peername")
            self._peer = str(address[0]) if address else ""
        return self._peer
