"""An engine's answer on its way to the client: one write per read, on the byte level, nothing decoded.

The head is rendered anew (hop-by-hop headers dropped, framing ours) and goes out together with the first bytes of the body.
Event streams are cut at event ends only: the tail of an unfinished event waits, so that an error can be said in-band if
the engine dies. Per read: one count, two searches for vLLM's own endings, one write. Called by `flow`.
"""

import re
from time import monotonic
from typing import TYPE_CHECKING, Final

from remuda.gateway import answers
from remuda.gateway.exchange import STATUS_LINES, Exchange
from remuda.gateway.forward import Reply
from remuda.gateway.waiting import Signal
from remuda.policy.health import Event
from remuda.policy.outcome import Outcome
from remuda.vllm import markers

if TYPE_CHECKING:
    from remuda.gateway.app import Gateway

_DROPPED: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"transfer-encoding", b"upgrade",
        b"te", b"trailer", b"content-length", b"x-request-id", b"server", b"alt-svc", b"set-cookie",
    }
)  # fmt: skip
_EVENT_BYTES: Final = 1 << 20
"""An event longer than this is not held until its end."""
_USAGE: Final = re.compile(rb'"(prompt_tokens|completion_tokens|input_tokens|output_tokens)":\s*(\d{1,12})')
_USAGE_MARK: Final = b'"usage":{'
_CHUNK: Final = b"%x\r\n%b\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


async def relay(gateway: "Gateway", exchange: Exchange, reply: Reply) -> Outcome:
    """Relay the whole answer; the outcome it had."""
    stream = Relay(exchange, reply)
    try:
        stream.begin(gateway.settings.idle_timeout_s)
        await stream.finished
    finally:
        reply.close()
    gateway.ledger.count_answer(exchange, stream)
    if stream.trouble:
        gateway.directory.see(reply.engine, Event.BROKEN)
        return Outcome.STREAM_BROKEN
    status = reply.upstream.status
    if status < 500:
        gateway.directory.see(reply.engine, Event.OK)
        return Outcome.COMPLETED if status < 400 else Outcome.REJECTED_BY_ENGINE
    return Outcome.NO_CAPACITY if status == 503 else Outcome.UPSTREAM_FAILED


class Relay:
    """One answer being relayed: `upstream.Taker` on one side, `exchange.Source` on the other."""

    __slots__ = (
        "_chunked",
        "_events",
        "_exchange",
        "_reply",
        "_tail",
        "_upstream",
        "_usage",
        "_write",
        "bytes",
        "events",
        "finished",
        "first_s",
        "last_s",
        "trouble",
    )

    def __init__(self, exchange: Exchange, reply: Reply) -> None:
        self._exchange = exchange
        self._reply = reply
        self._upstream = reply.upstream
        self._write = exchange.connection.transport.write
        self._tail = b""
        self._usage = b""
        self._events = reply.upstream.streams
        self._chunked = False
        self.events = 0
        self.bytes = 0
        self.trouble = ""
        self.finished: Signal[None] = Signal()
        self.first_s = self.last_s = 0.0

    def begin(self, idle_timeout_s: float) -> None:
        """Send the head with what of the body is here."""
        exchange, upstream = self._exchange, self._upstream
        exchange.status = upstream.status
        exchange.answered = True
        exchange.first_byte_s = self.first_s = monotonic()
        if exchange.connection.draining:
            exchange.keep_alive = False
        head = self._render_head()
        first = upstream.take_parts()
        if self._events:
            first = self._cut_event(first)
        self._note(first)
        if upstream.complete:
            self._write(b"%b%b" % (head, self._frame(first)) if first else head)
            self.end()
            return
        self._write(head + self._frame(first) if first else head)
        exchange.source = self
        upstream.relay_to(self, idle_timeout_s)

    def _render_head(self) -> bytes:
        exchange, upstream = self._exchange, self._upstream
        dropped = _DROPPED
        lines = [b"%b: %b\r\n" % (name, value) for name, value in upstream.headers if name not in dropped]
        if upstream.complete and not self._events and not upstream.chunked and upstream.content_length is None:
            framing = b"content-length: %d\r\n" % upstream.waiting_bytes
        elif upstream.content_length is not None:
            framing = b"content-length: %b\r\n" % upstream.content_length
        elif exchange.head.minor == 0:
            exchange.keep_alive = False
            framing = b""
        elif upstream.status in {204, 304}:
            framing = b""
        else:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        return b"%b%b%b%bx-request-id: %b\r\n%b%b\r\n" % (
            STATUS_LINES[upstream.status] if upstream.status in STATUS_LINES else STATUS_LINES[502],
            b"".join(lines),
            framing,
            self._reply.engine.id_line,
            exchange.request_id,
            exchange.cors,
            exchange.framing(),
        )

    def _frame(self, payload: bytes) -> bytes:
        return _CHUNK % (len(payload), payload) if self._chunked else payload

    def _note(self, payload: bytes) -> None:
        """What is counted of an answer, by looking at its bytes."""
        self.bytes += len(payload)
        if _USAGE_MARK in payload:
            self._usage = payload
        if self._events:
            self.events += payload.count(b"\n\n")
            if markers.ABORT in payload or payload.startswith(markers.IN_BAND_ERROR):
                self.trouble = "the engine was stopped"

    def _cut_event(self, payload: bytes) -> bytes:
        """The complete events of what is here; the rest waits for its end."""
        if self._tail:
            payload, self._tail = self._tail + payload, b""
        if payload.endswith(b"\n\n"):
            return payload
        end = max(payload.rfind(b"\n\n") + 2, payload.rfind(b"\r\n\r\n") + 4)
        if end < 4:
            end = 2 if payload[:2] == b"\n\n" else 0
        if len(payload) - end > _EVENT_BYTES:
            return payload
        self._tail = payload[end:]
        return payload[:end]

    # ---- from upstream

    def take(self, payload: bytes) -> None:
        """One read's worth of the body."""
        if self._events:
            if self._tail or not payload.endswith(b"\n\n"):
                payload = self._cut_event(payload)
                if not payload:
                    return
            self.events += payload.count(b"\n\n")
            if markers.ABORT in payload or payload.startswith(markers.IN_BAND_ERROR):
                self.trouble = "the engine was stopped"
        self.bytes += len(payload)
        if _USAGE_MARK in payload:
            self._usage = payload
        self._write(_CHUNK % (len(payload), payload) if self._chunked else payload)

    def end(self) -> None:
        """The answer is complete."""
        self.last_s = monotonic()
        if self._tail:
            self._write(self._frame(self._tail))
            self._tail = b""
        if self._chunked:
            self._write(_LAST_CHUNK)
        self.finished.set(None)

    def broken(self, detail: str) -> None:
        """The engine died in the middle. A stream is told so as its last event; anything else is cut short."""
        self.last_s = monotonic()
        self.trouble = detail
        exchange = self._exchange
        if self._events and (self._chunked or exchange.head.minor == 0):
            problem = answers.stream_broken(detail)
            body = problem.body(exchange.request_id.decode(), exchange.dialect)
            start = b"event: error\ndata: " if exchange.dialect is answers.Dialect.ANTHROPIC else b"data: "
            self._write(self._frame(start + body + b"\n\n"))
            if self._chunked:
                self._write(_LAST_CHUNK)
            exchange.keep_alive = False
        else:
            exchange.cut()
        self.finished.set(None)

    # ---- from the client's side

    def pause(self) -> None:
        self._upstream.pause()

    def resume(self) -> None:
        self._upstream.resume()

    # ---- afterwards

    def read_usage(self) -> tuple[int, int] | None:
        """Prompt and generated tokens as the engine stated them."""
        if not self._usage:
            return None
        found = {name: int(count) for name, count in _USAGE.findall(self._usage, self._usage.rfind(_USAGE_MARK))}
        prompt = found.get(b"prompt_tokens") or found.get(b"input_tokens", 0)
        return prompt, found.get(b"completion_tokens") or found.get(b"output_tokens", 0)
