"""An engine's answer on its way to the client: one write per read, on the byte level, nothing decoded.

The head is rendered anew and goes out with the first bytes of the body. Event streams are cut at event ends only: the
tail of an unfinished event waits, so that an error can be said in-band if the engine dies. Per read: one count, one
write. Called by `flow`.
"""

import re
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from remuda.gateway.api import problems
from remuda.gateway.http.exchange import STATUS_LINES, Exchange
from remuda.gateway.serving.directory import Lease
from remuda.gateway.upstream.connection import Taker, Upstream
from remuda.gateway.waiting import Signal
from remuda.policy.health import Event
from remuda.policy.outcome import Outcome
from remuda.vllm import markers

if TYPE_CHECKING:
    from remuda.gateway.app import Gateway

_EVENT_BYTES: Final = 1 << 20
"""An event longer than this is not held until its end."""
_USAGE: Final = re.compile(rb'"(prompt_tokens|completion_tokens|input_tokens|output_tokens)":\s*(\d{1,12})')
_VLLM_USAGE: Final = re.compile(
    rb'"usage":\{"prompt_tokens":(\d{1,12}),"total_tokens":\d{1,12},"completion_tokens":(\d{1,12})'
)
_USAGE_MARK: Final = b'"usage":{'
_CHUNK: Final = b"%x\r\n%b\r\n"
_RECENT: Final = 4
"""Reads kept until the end: what an engine says of its end, and the usage, stand there and are looked for once."""
_FAILED_HOP: Final = b"x-remuda-hop: engine\r\n"
_BODILESS: Final = frozenset({204, 304})
_LAST_CHUNK: Final = b"0\r\n\r\n"


async def relay(gateway: "Gateway", exchange: Exchange, lease: Lease) -> Outcome:
    """Relay the whole answer; the outcome it had."""
    upstream = lease.upstream
    assert upstream is not None
    stream = None
    try:
        if upstream.complete and not upstream.head.streams:
            _write_whole(exchange, upstream)
        else:
            stream = Relay(exchange, upstream)
            await stream.run(gateway.settings.idle_timeout_s)
    finally:
        lease.close()
    return judge(gateway, lease, upstream.head.status, "" if stream is None else stream.trouble)


def judge(gateway: "Gateway", lease: Lease, status: int, trouble: str = "") -> Outcome:
    """What a relayed answer counts as, for the request and for the engine's health."""
    if trouble:
        gateway.directory.see(lease.engine, Event.BROKEN)
        return Outcome.STREAM_BROKEN
    if status < 500:
        if not lease.engine.pristine:
            gateway.directory.see(lease.engine, Event.OK)
        return Outcome.COMPLETED if status < 400 else Outcome.REJECTED_BY_ENGINE
    return Outcome.NO_CAPACITY if status == 503 else Outcome.UPSTREAM_FAILED


def _write_whole(exchange: Exchange, upstream: Upstream) -> None:
    """An answer that came in one piece goes out in one piece."""
    body = upstream.take_parts()
    framing = b"" if upstream.head.status in _BODILESS else b"content-length: %d\r\n" % len(body)
    exchange.connection.transport.write(render_head(exchange, upstream, framing) + body)
    exchange.answer_bytes = len(body)
    exchange.usage = read_usage(body)


def render_head(exchange: Exchange, upstream: Upstream, framing: bytes) -> bytes:
    """The head of a relayed answer: the engine's own lines, our framing, who it was."""
    answer = upstream.head
    exchange.status = answer.status
    exchange.answered = True
    exchange.first_byte_s = upstream.heard_at
    if exchange.gateway.draining:
        exchange.keep_alive = False
    return b"".join(
        (
            STATUS_LINES.get(answer.status) or STATUS_LINES[502],
            answer.lines,
            framing,
            upstream.owner.id_line if answer.status < 400 else upstream.owner.id_line + _FAILED_HOP,
            b"x-request-id: ",
            exchange.request_id,
            b"\r\n" if exchange.keep_alive and exchange.head.minor else b"\r\n" + exchange.framing(),
            exchange.cors,
            b"\r\n",
        )
    )


def read_usage(answer: bytes) -> tuple[int, int] | None:
    """Prompt and generated tokens as an engine states them at the end of an answer or of a stream."""
    start = answer.rfind(_USAGE_MARK)
    if start < 0:
        return None
    match = _VLLM_USAGE.match(answer, start)
    if match is not None:
        prompt, generated = match.groups()
        return int(prompt), int(generated)
    found = dict(_USAGE.findall(answer, start))
    prompt = found.get(b"prompt_tokens") or found.get(b"input_tokens") or b"0"
    return int(prompt), int(found.get(b"completion_tokens") or found.get(b"output_tokens") or b"0")


class Relay(Taker):
    """One answer being relayed: `Taker` on one side, `exchange.Source` on the other."""

    chunked = False
    trouble = ""
    events = 0
    tail = b""

    def __init__(self, exchange: Exchange, upstream: Upstream) -> None:
        self.exchange = exchange
        self.upstream = upstream
        self.write = exchange.connection.transport.write
        self.recent: deque[bytes] = deque(maxlen=_RECENT)
        self.streams = upstream.head.streams
        self.bytes = 0
        self.finished: Signal[None] = Signal()

    async def run(self, idle_timeout_s: float) -> None:
        """From the head to the last byte."""
        exchange, upstream = self.exchange, self.upstream
        exchange.source = self
        head = render_head(exchange, upstream, self._choose_framing())
        self.write(head + self.frame(upstream.take_parts()))
        if upstream.complete:
            self.end()
        else:
            upstream.relay_to(self, idle_timeout_s, self.chunked and self.streams)
        await self.finished

    def _choose_framing(self) -> bytes:
        """How the client learns where the body ends."""
        length = self.upstream.head.content_length
        if length is not None:
            return b"content-length: %d\r\n" % length
        return self._frame_anew()

    def _frame_anew(self) -> bytes:
        """The same when nobody knows its length yet."""
        if self.exchange.head.minor == 0:
            self.exchange.keep_alive = False
            return b""
        self.chunked = True
        return b"transfer-encoding: chunked\r\n"

    def _cut_event(self, payload: bytes) -> bytes:
        """The complete events of what is here; the rest waits for its end."""
        if self.tail:
            payload, self.tail = self.tail + payload, b""
        if payload.endswith(b"\n\n"):
            return payload
        end = payload.rfind(b"\n\n")
        end = 0 if end < 0 else end + 2
        crlf = payload.rfind(b"\r\n\r\n")
        end = max(end, 0 if crlf < 0 else crlf + 4)
        if len(payload) - end > _EVENT_BYTES:
            return payload
        self.tail = payload[end:]
        return payload[:end]

    # ---- from upstream

    def take(self, payload: bytes) -> None:
        """One read's worth of the body."""
        framed = self.frame(payload)
        if framed:
            self.write(framed)

    def frame(self, payload: bytes) -> bytes:
        """What the client gets for it: half an event is held back; counted and framed."""
        if self.streams:
            if self.tail or payload[-2:] != b"\n\n":
                payload = self._cut_event(payload)
            self.events += payload.count(b"\n\n")
        if not payload:
            return b""
        self.recent.append(payload)
        size = len(payload)
        self.bytes += size
        return b"%x\r\n%b\r\n" % (size, payload) if self.chunked else payload

    def take_chunk(self, chunk: bytes, start: int) -> None:
        """One chunk of whole events as it came, payload from `start` on: byte for byte what `take` would make of it."""
        if self.tail:
            self.take(chunk[start:-2])
            return
        self.events += chunk.count(b"\n\n", start)
        self.recent.append(chunk)
        self.bytes += len(chunk) - start - 2
        self.write(chunk)

    def end(self) -> None:
        """The answer is complete."""
        if self.tail:
            self.write(_CHUNK % (len(self.tail), self.tail) if self.chunked else self.tail)
        if self.chunked:
            self.write(_LAST_CHUNK)
        self._finish()

    def broken(self, detail: str) -> None:
        """The engine died in the middle. A stream is told so as its last event; anything else is cut short."""
        self.trouble = detail
        exchange = self.exchange
        if self.streams and (self.chunked or exchange.head.minor == 0):
            body = problems.stream_broken(detail).body(exchange.request_id.decode(), exchange.dialect)
            start = b"event: error\ndata: " if exchange.dialect is problems.Dialect.ANTHROPIC else b"data: "
            event = start + body + b"\n\n"
            self.write(_CHUNK % (len(event), event) + _LAST_CHUNK if self.chunked else event)
            exchange.keep_alive = False
        else:
            exchange.cut()
        self._finish()

    def _finish(self) -> None:
        exchange = self.exchange
        exchange.last_byte_s = monotonic()
        exchange.answer_bytes = self.bytes
        exchange.events = self.events
        ending = b"".join(self.recent)
        exchange.usage = read_usage(ending)
        said = markers.ABORT in ending or (self.streams and markers.IN_BAND_ERROR in ending)
        if said and not self.trouble:
            self.trouble = "the engine was stopped"
        self.finished.set(None)

    # ---- from the client's side

    def pause(self) -> None:
        self.upstream.pause()

    def resume(self) -> None:
        self.upstream.resume()
