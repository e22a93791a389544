"""One connection to an engine: a request out, an answer in; kept alive between requests.

llhttp reads the answer's framing. Its payload is handed on once per read and framed anew, so nothing of an engine's
framing (chunk extensions, trailers, odd sizes) reaches a client. llhttp is not asked about the two kinds of reads that
leave its state unchanged: a whole answer whose head is known byte for byte, and a chunk that is framed exactly as the
gateway frames chunks. An answer begins with the first byte of its body: until then another engine can still take the
request. This module does not know models, retries, health or clients.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final, cast

import httptools

from remuda.gateway.deadlines import NEVER
from remuda.gateway.head_memo import HeadMemo
from remuda.gateway.upstream.head import (
    NO_HEAD,
    AnswerHead,
    BadAnswer,
    check_interim_head,
    ends_with_answer,
    read_answer_head,
)
from remuda.gateway.upstream.taker import AttemptFailed, Taker
from remuda.gateway.waiting import Signal
from remuda.policy.retry import Phase

_SILENT_BYTES: Final = 64 * 1024
"""An engine may send this much without a byte of a body: heads, interim answers, chunk extensions and trailers."""
_UNTAKEN_BYTES: Final = 64 * 1024
"""More of a body than this is not read while nobody takes it."""
_SIZE_DIGITS: Final = 4
_CHUNK_SIZES: Final = {b"%x" % size: size for size in range(1, 4096)}
"""Chunk size lines exactly as we write them: anything else (extensions, capitals, zeros in front) is parsed."""
_EVENT_CHUNK_END: Final = b"\n\n\r\n"
_SPLIT_BYTES: Final = 16 * 1024
"""Larger bodies are written in a second write, so that they need not be copied behind their head."""

_HEAD_END: Final = b"\r\n\r\n"
_MALFORMED: Final = "what it sent is not HTTP"


class _AnotherAnswer(Exception):  # noqa: N818 - it stops the parser
    """What follows does not belong to this answer. The connection is not used again."""


class Owner:
    """The part of a pool that its connections use."""

    own: bool
    """A process of our own answers, not an engine."""
    answer_memo: HeadMemo[AnswerHead] | None
    """The head of the engine's last whole answer."""
    id_line: bytes
    """The header line that tells a client which engine answered."""

    def keep(self, upstream: "Upstream") -> None:
        """Take back a connection that can carry another request."""
        raise NotImplementedError

    def forget(self, upstream: "Upstream") -> None:
        """The connection is closed."""
        raise NotImplementedError


class Upstream:
    """An `asyncio.Protocol` by its methods, because a compiled class has no Python base.

    Its life: idle, `send`, the answer begins, `relay_to`, `release`.
    """

    __slots__ = (
        "_between_chunks",
        "_body_open",
        "_failed",
        "_failure",
        "_fed",
        "_feed",
        "_headers",
        "_holding",
        "_keep_alive",
        "_large",
        "_more",
        "_parser",
        "_parts",
        "_poisoned",
        "_silent_bytes",
        "_taker",
        "_takes_chunks",
        "_to_head",
        "answer",
        "busy",
        "complete",
        "deadline_at",
        "head",
        "heard_at",
        "lost",
        "on_full",
        "on_room",
        "owner",
        "paused",
        "reused",
        "timeout_s",
        "transport",
    )

    transport: asyncio.Transport
    answer: Signal["Upstream"]

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self.lost = self.busy = self.reused = self.paused = False
        self.deadline_at = NEVER
        self.heard_at = self.timeout_s = 0.0
        self._keep_alive = self._poisoned = self._large = self._body_open = False
        self.on_full: Callable[[], None] | None = None
        """Called when a body that is sent in parts should pause; `on_room` when it may go on."""
        self.on_room: Callable[[], None] | None = None
        self._taker: Taker | None = None
        self._more: Signal[None] | None = None
        self._reset()

    def _reset(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._silent_bytes = 0
        self._failure = ""
        self._fed = self._failed = self._holding = self._to_head = False
        self._between_chunks = False
        self._takes_chunks = False
        self.head: AnswerHead = NO_HEAD
        self.complete = False

    # ---- from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        """A whole request waits in the transport, which has all of it; a body that comes in parts must stop coming."""
        if self.on_full is not None:
            self.on_full()

    def resume_writing(self) -> None:
        if self.on_room is not None:
            self.on_room()

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            self._poisoned = True
            self.transport.abort()
            return
        self.heard_at = monotonic()
        if not self._fed:
            memo = self.owner.answer_memo
            known = memo.match(data) if memo is not None else None
            if known is not None and known[0] + known[1] == len(data):
                assert memo is not None
                self._take_known(memo.head, data[known[0] :])
            else:
                self._parse_first(data)
            return
        if self._takes_chunks and self._between_chunks:
            # Nearly every read of a stream is one chunk with one event, framed as we frame it: nothing to parse.
            end = data.find(b"\r\n", 0, _SIZE_DIGITS + 2)
            if len(data) - end - 4 == _CHUNK_SIZES.get(data[:end]) and data.endswith(_EVENT_CHUNK_END):
                assert self._taker is not None
                self._taker.take_chunk(data, end + 2)
                return
        if self.complete:
            self._poisoned = True
        else:
            self._parse(data)

    def _parse_first(self, data: bytes) -> None:
        """The first read of an answer."""
        self._fed = True
        self._note_early_answer()
        self._parse(data)
        if self.complete:
            self._remember(data)

    def _take_known(self, head: AnswerHead, body: bytes) -> None:
        """A whole answer came in one read, and the parser has read the same head before: it need not see this one."""
        self._fed = True
        if self._large:
            self._note_early_answer()
        self.head = head
        self.complete = self._keep_alive = True
        self._parts.append(body)
        self.answer.set(self)

    def _note_early_answer(self) -> None:
        """An engine that answers before it has read the whole request may never read the rest."""
        if self._large and self.transport.get_write_buffer_size():
            self._poisoned = True

    def _remember(self, data: bytes) -> None:
        """Keep the head of a whole answer, so that the next one is recognised; not a head that leaves anything open."""
        head = self.head
        length = head.content_length
        if length is None or head.streams or self._poisoned or not self._keep_alive:
            return
        if data[:12] == b"HTTP/1.1 %d" % head.status:  # an interim answer in front would become part of the head
            end = data.find(_HEAD_END) + len(_HEAD_END)
            self.owner.answer_memo = HeadMemo(data[:end], head, length)

    def _parse(self, data: bytes) -> None:
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            self._fail("it switched protocols")
            return
        except httptools.HttpParserError:
            if not self.complete:
                self._fail(self._failure or _MALFORMED)
                return
            self._poisoned = True  # what stands behind its answer is not HTTP, or another answer
        if self._between_chunks and not data.endswith(b"\r\n"):
            self._between_chunks = False  # part of the next size line is here
        if self.complete and not ends_with_answer(data, self.head.chunked, self._parts):
            self._poisoned = True
        self._hand_on(len(data))

    def _hand_on(self, received: int) -> None:
        """Give away what one read of so many bytes has brought."""
        parts = self._parts
        taker = self._taker
        if not (parts or self.complete):
            self._bound_silence(received)
        elif taker is None:
            more, self._more = self._more, None
            if more is None:
                self.answer.set(self)
            else:
                more.set(None)
            self._bound_untaken()
        else:
            self._silent_bytes = 0
            if parts:
                payload = parts[0] if len(parts) == 1 else b"".join(parts)
                parts.clear()
                taker.take(payload)
            if self.complete:
                taker.end()

    def _bound_silence(self, received: int) -> None:
        self._silent_bytes += received
        if self._silent_bytes > _SILENT_BYTES:
            within = "the head or the trailers of its answer are" if self.head.status else "the head of its answer is"
            self._fail(f"{within} too large")

    def _bound_untaken(self) -> None:
        """Whoever waits for the answer may take it later: until then the engine must not fill the memory."""
        wanted = self._taker is not None or self._more is not None or not self.busy or self.complete
        if not wanted and sum(map(len, self._parts)) > _UNTAKEN_BYTES:
            self._holding = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        head = self.head
        if self.busy and head.status and not self.complete and not head.chunked and head.content_length is None:
            self.complete = True  # this answer ends with its connection
            self._hand_on(0)
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.lost = True
        self.owner.forget(self)
        if self.busy and not self.complete:
            self._fail("it closed the connection")

    # ---- from llhttp

    def on_message_begin(self) -> None:
        if self.complete:
            raise _AnotherAnswer

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        try:
            if 100 <= status < 200:
                check_interim_head(self._headers)
            else:
                version = self._parser.get_http_version()
                self.head = read_answer_head(version, status, self._headers, self.owner.own, self._to_head)
        except BadAnswer as bad:
            self._failure = bad.detail
            raise
        if self._to_head and self.head.status:
            self.complete = True
            raise _AnotherAnswer  # the parser does not know what was asked, and would wait for a body

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_chunk_header(self) -> None:
        self._between_chunks = False

    def on_chunk_complete(self) -> None:
        self._between_chunks = True

    def on_message_complete(self) -> None:
        if not self.head.status:
            self._headers.clear()  # an interim answer: the real one follows
            return
        self.complete = True
        self._between_chunks = False
        # Must be asked here: a moment later the parser has begun the next message.
        self._keep_alive = self._parser.should_keep_alive()

    # ---- from the flow

    def send(self, head: bytes, body: bytes | list[bytes | memoryview], deadline_at: float) -> Signal["Upstream"]:
        """Send a request; the signal is set when its answer has begun. An edited body comes in pieces."""
        if self.reused:
            self._reset()
        self.busy = True
        answer: Signal[Upstream] = Signal()
        self.answer = answer
        self.deadline_at = deadline_at
        if isinstance(body, bytes):
            self._large = len(body) > _SPLIT_BYTES
            if not self._large:
                self.transport.write(head + body)
                return answer
            body = [body]
        self._large = True
        self.transport.write(head)
        for piece in body:
            self.transport.write(piece)
        return answer

    def begin(self, head: bytes, deadline_at: float) -> Signal["Upstream"]:
        """Send the head of a request whose body follows in parts; the signal is set when its answer has begun."""
        answer = self.send(head, b"", deadline_at)
        self._to_head = head.startswith(b"HEAD ")
        self._body_open = True
        return answer

    def send_part(self, data: bytes, *, last: bool) -> None:
        """More of the body, framed as the head says."""
        if data and not self.lost:
            self.transport.write(data)
        if last:
            self._body_open = False

    def peek(self) -> bytes:
        """The part of the body that is here, without taking it."""
        parts = self._parts
        if len(parts) > 1:
            parts[:] = [b"".join(parts)]
        return parts[0] if parts else b""

    def wait_for_more(self) -> Signal[None]:
        """Set when more of the body is here, or all of it; for whoever looks at the answer before taking it."""
        more: Signal[None] = Signal()
        self._more = more
        if self._failed:
            more.fail(AttemptFailed(Phase.SENT, self._failure))
        elif self.complete:
            more.set(None)
        elif self._holding:
            self._stop_holding()
        return more

    def take_parts(self) -> bytes:
        """Take the part of the body that is here."""
        parts = self._parts
        payload = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return payload

    def relay_to(self, taker: Taker, idle_timeout_s: float, takes_chunks: bool = False) -> None:
        """From now on the body goes to `taker`, read by read. `takes_chunks`: it wants whole chunks as they came."""
        self._taker = taker
        self._takes_chunks = takes_chunks
        self.timeout_s = idle_timeout_s
        self.deadline_at = self.heard_at + idle_timeout_s
        if self._failed:
            taker.broken(self._failure)  # it failed before anybody took the answer
        elif self._holding:
            self._stop_holding()

    def use_once(self) -> None:
        """Do not go back to the owner after the next answer."""
        self._poisoned = True

    def release(self) -> None:
        """The request is over. The connection goes back to its owner, or closes."""
        if not self.busy:
            return
        self.busy = False
        self._taker = self._more = None
        self._takes_chunks = False
        self.deadline_at = NEVER
        self.on_full = self.on_room = None
        if self._body_open:
            self._poisoned = True  # whoever has not got the whole request would read the next one as its body
        if self.paused:
            self.resume()
        if self._large and self.head.status >= 400:
            self._poisoned = True  # an engine that refuses a large body may do so without reading it
        if self.complete and self._keep_alive and not (self._poisoned or self.lost):
            self.reused = True
            self.owner.keep(self)
        elif not self.lost:
            self.transport.abort()

    def pause(self) -> None:
        if not self.paused and not self.lost and not self.transport.is_closing():
            self.paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            self._continue_reading()

    def _stop_holding(self) -> None:
        self._holding = False
        if not self.paused:
            self._continue_reading()

    def _continue_reading(self) -> None:
        self.heard_at = monotonic()
        if not self.lost and not self.transport.is_closing():
            self.transport.resume_reading()

    # ---- ends

    def cut(self, detail: str) -> None:
        """Close now, also in the middle of an answer."""
        if self.busy:
            self._fail(detail)
        elif not self.lost:
            self.transport.abort()

    def on_deadline(self, now_at: float) -> None:
        """Nothing was heard for too long, or an idle connection is old."""
        if not self.busy:
            self.deadline_at = NEVER
            self.transport.close()
        elif self._taker is None and self.answer.done and self._more is None:
            self.deadline_at = NEVER  # the engine has begun to answer; whoever asked takes their time
        elif self._taker is None:
            self._fail("it did not begin to answer in time", timed_out=True)
        elif self.paused:
            self.deadline_at = now_at + self.timeout_s
        elif self.heard_at + self.timeout_s > now_at:
            self.deadline_at = self.heard_at + self.timeout_s
        else:
            self._fail(f"it sent nothing for {self.timeout_s:g} s")

    def fail(self, detail: str) -> None:
        """Give the request up: what the other side has of it must not be taken for all of it."""
        self._fail(detail)

    def _fail(self, detail: str, *, timed_out: bool = False) -> None:
        """End the answer here. Whoever takes it, now or later, hears of it once."""
        if self.complete or self._failed:
            return
        self._failed = self._poisoned = True
        self._failure = detail
        self.deadline_at = NEVER
        if not self.lost:
            self.transport.abort()
        taker, self._taker = self._taker, None
        self._takes_chunks = False
        if taker is None:
            stale = self.reused and self.lost and not self._fed
            failure = AttemptFailed(Phase.SENT, detail, timed_out=timed_out, stale=stale)
            self.answer.fail(failure)
            more, self._more = self._more, None
            if more is not None:
                more.fail(failure)
            return
        if self._parts:
            taker.take(self.take_parts())
        taker.broken(detail)
