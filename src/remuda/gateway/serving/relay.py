"""An engine's answer on its way to the client: one write per read, on the byte level, nothing decoded.

The head is rendered anew and goes out with the first bytes of the body. Event streams are cut at event ends only: the
tail of an unfinished event waits, so that an error can be said in-band if the engine dies. Per read: one count, one
write. Does not know which engine it is, nor what the outcome means for it.
"""

import re
from collections import deque
from time import monotonic
from typing import Final

from remuda.gateway.api import problems
from remuda.gateway.api.problems import Dialect
from remuda.gateway.api.refusals import dialect_of
from remuda.gateway.http.exchange import STATUS_LINES, Exchange
from remuda.gateway.record.record import Record
from remuda.gateway.serving.attempt import Attempt
from remuda.gateway.upstream.connection import Upstream
from remuda.gateway.upstream.taker import Taker
from remuda.gateway.waiting import Signal
from remuda.vllm import markers

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
_NO_CHOICES: Final = b'"choices":[]'
"""In the event that states the usage of a stream of OpenAI's API. Inside a JSON string its quotes would be escaped."""
_FINISHED: Final = b'"finish_reason":"'
_ENDING_BYTES: Final = 160
"""The mark _FINISHED stands within this distance of the end of a read whose last event finishes a choice."""
_FINGERPRINT: Final = re.compile(rb'"system_fingerprint":"[^"\\]*"')
_FAILED_HOP: Final = b"x-remuda-hop: engine\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


async def relay(
    exchange: Exchange, record: Record, attempt: Attempt, idle_timeout_s: float, *, cut_usage: bool = False
) -> str:
    """Relay the whole answer; why it broke off, or nothing. Closes the attempt.

    cut_usage    the gateway asked for the event that states the usage, and the client did not: it is read and cut out
    """
    upstream = attempt.upstream
    try:
        if upstream.complete and not upstream.head.streams:
            write_whole(exchange, record, upstream)
            return ""
        stream = Relay(exchange, record, upstream, dialect_of(record.route_name))
        stream.cut_usage = cut_usage
        await stream.run(idle_timeout_s)
        return stream.trouble
    finally:
        attempt.close()


def write_whole(exchange: Exchange, record: Record, upstream: Upstream) -> None:
    """Relay an answer that is here as a whole: it goes out in one piece."""
    body = upstream.take_parts()
    framing = b"" if upstream.head.bodiless else b"content-length: %d\r\n" % len(body)
    exchange.link.write(render_head(exchange, record, upstream, framing) + body)
    record.answer_bytes = len(body)
    note_usage(record, body)


def render_head(exchange: Exchange, record: Record, upstream: Upstream, framing: bytes) -> bytes:
    """The head of a relayed answer: the engine's own lines, our framing, and which engine it was."""
    answer = upstream.head
    exchange.status = answer.status
    exchange.answered = True
    record.first_byte_at = upstream.heard_at
    if exchange.link.draining:
        exchange.keep_alive = False
    id_line = upstream.owner.id_line
    return b"".join(
        (
            STATUS_LINES.get(answer.status) or STATUS_LINES[502],
            answer.lines,
            framing,
            id_line if answer.status < 400 else id_line + _FAILED_HOP,
            b"x-request-id: ",
            exchange.request_id,
            b"\r\n" if exchange.keep_alive and exchange.head.minor else b"\r\n" + exchange.framing(),
            exchange.extra_lines,
            b"\r\n",
        )
    )


def note_usage(record: Record, answer: bytes) -> None:
    """Note prompt and generated tokens as an engine states them at the end of an answer or of a stream."""
    usage = read_usage(answer)
    if usage is not None:
        record.prompt_tokens, record.generated_tokens = usage


def read_usage(answer: bytes) -> tuple[int, int] | None:
    """(prompt tokens, generated tokens) as stated last; None when they are not stated."""
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
    """One answer that is relayed in parts."""

    chunked = False
    open_ended = False
    """The client's answer ends with its connection."""
    trouble = ""
    """Why the answer broke off; empty while it has not."""
    events = 0
    tail = b""
    """An event that has begun and not ended."""
    cut_usage = False
    """Cut out the event that states the usage, because only the gateway asked for it."""
    hold_last = False
    """Send an event only when the next one is here, so that the last one can be judged before the client has it."""
    held = b""
    """The event that is held back."""
    finishing = b""
    """With `cut_usage`, an event that finishes a choice waits for the next one: the usage may name a fingerprint."""

    def __init__(self, exchange: Exchange, record: Record, upstream: Upstream, dialect: Dialect) -> None:
        self.exchange = exchange
        self.record = record
        self.upstream = upstream
        self.dialect = dialect
        self.write = exchange.link.write
        self.recent: deque[bytes] = deque(maxlen=_RECENT)
        self.streams = upstream.head.streams
        self.bytes = 0
        self.finished: Signal[None] = Signal()

    async def run(self, idle_timeout_s: float) -> None:
        """Relay everything, from the head to the last byte."""
        exchange, upstream = self.exchange, self.upstream
        exchange.pause_source = upstream.pause
        exchange.resume_source = upstream.resume
        head = render_head(exchange, self.record, upstream, self._choose_framing())
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
        if self.upstream.head.bodiless:
            return b""
        if self.exchange.head.minor == 0:
            self.exchange.keep_alive = False
            self.open_ended = True
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

    def _may_end(self, events: bytes) -> bool:
        """Whether a choice finishes at the end of these events, or the usage is among them or expected."""
        return (
            bool(self.finishing)
            or events.find(_NO_CHOICES) >= 0
            or events.find(_FINISHED, max(len(events) - _ENDING_BYTES, 0)) >= 0
        )

    def _settle_usage(self, events: bytes) -> bytes:
        """These events without the one that states the usage. An event that finishes a choice waits for the next."""
        events = self.finishing + events
        self.finishing = b""
        at = events.find(_NO_CHOICES)
        if at >= 0:
            return self._cut_usage(events, at)
        last = events.rfind(b"\n\n", 0, len(events) - 2) + 2
        last = 0 if last < 2 else last
        if events.find(_FINISHED, last) < 0:
            return events
        self.finishing = events[last:]
        return events[:last]

    def _cut_usage(self, events: bytes, at: int) -> bytes:
        """These events without the one around `at`, which has no choices and states the usage, which is noted.

        vLLM writes its fingerprint into the last event of a stream. The event before the usage gets it here, as it does
        from vLLM when nobody asks for the usage.
        """
        start = events.rfind(b"\n\n", 0, at)
        start = 0 if start < 0 else start + 2
        end = events.find(b"\n\n", at)
        end = len(events) if end < 0 else end + 2
        usage = read_usage(events[start:end])
        if usage is None:
            return events
        self.record.prompt_tokens, self.record.generated_tokens = usage
        before, fingerprint = events[:start], _FINGERPRINT.search(events, start, end)
        if fingerprint is not None and before.endswith(b"}\n\n"):
            before = before[:-3] + b"," + fingerprint[0] + b"}\n\n"
        return before + events[end:]

    def _hold_last(self, events: bytes) -> bytes:
        """Everything but the last of these events, which takes the place of the one that was held back before."""
        events = self.held + events
        last = events.rfind(b"\n\n", 0, len(events) - 2)
        last = 0 if last < 0 else last + 2
        self.held = events[last:]
        return events[:last]

    def _release(self) -> None:
        """Send what was held back: the answer has ended well."""
        held = self.held + self.finishing
        self.held = self.finishing = b""
        if held:
            self.write(self._count(held))

    # ---- from the engine

    def take(self, payload: bytes) -> None:
        framed = self.frame(payload)
        if framed:
            self.write(framed)

    def frame(self, payload: bytes) -> bytes:
        """What the client gets for it: half an event is held back; counted and framed."""
        if self.streams:
            if self.tail or payload[-2:] != b"\n\n":
                payload = self._cut_event(payload)
            if self.cut_usage and self._may_end(payload):
                payload = self._settle_usage(payload)
            if self.hold_last:
                payload = self._hold_last(payload)
        return self._count(payload)

    def _count(self, payload: bytes) -> bytes:
        """These bytes as they go out: counted and framed."""
        if not payload:
            return b""
        if self.streams:
            self.events += payload.count(b"\n\n")
        self.recent.append(payload)
        size = len(payload)
        self.bytes += size
        return b"%x\r\n%b\r\n" % (size, payload) if self.chunked else payload

    def take_chunk(self, chunk: bytes, start: int) -> None:
        """Byte for byte what `take` would make of it, without framing it anew."""
        if self.tail or self.hold_last or (self.cut_usage and self._may_end(chunk)):
            self.take(chunk[start:-2])
            return
        self.events += chunk.count(b"\n\n", start)
        self.recent.append(chunk)
        self.bytes += len(chunk) - start - 2
        self.write(chunk)

    def end(self) -> None:
        self._release()
        if self.tail:
            self.write(_CHUNK % (len(self.tail), self.tail) if self.chunked else self.tail)
        if self.chunked:
            self.write(_LAST_CHUNK)
        self._finish()

    def broken(self, detail: str) -> None:
        """A stream says so in its last event, if its length is open; anything else is cut short."""
        self.trouble = detail
        if not markers.is_interrupted(self.held + self.finishing, self.streams):
            self._release()
        exchange = self.exchange
        if self.streams and (self.chunked or self.open_ended):
            body = problems.stream_broken(detail).body(exchange.request_id.decode(), self.dialect)
            start = b"event: error\ndata: " if self.dialect is Dialect.ANTHROPIC else b"data: "
            event = start + body + b"\n\n"
            self.write(_CHUNK % (len(event), event) + _LAST_CHUNK if self.chunked else event)
            exchange.keep_alive = False
        else:
            exchange.cut()
        self._finish()

    def _finish(self) -> None:
        record = self.record
        record.last_byte_at = monotonic()
        record.answer_bytes = self.bytes
        record.events = self.events
        ending = b"".join(self.recent)
        note_usage(record, ending)
        if not self.trouble and markers.is_interrupted(ending, self.streams):
            self.trouble = "the engine was stopped"
        self.finished.set(None)
