"""The conversation with one client about one request: read its body, write its answer.

Knows what HTTP needs for that and nothing of what the request means: no route, model, key or engine.
"""

import logging
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Final

from remuda.gateway.http.body_budget import BodyBudget
from remuda.gateway.http.head import RequestHead
from remuda.gateway.http.refusal import Reason, Refusal
from remuda.gateway.http.request_id import take_request_id
from remuda.gateway.waiting import Run, Signal

_log = logging.getLogger("remuda.gateway")
_REASONS: Final = {
    200: b"OK", 204: b"No Content", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found",
    405: b"Method Not Allowed", 408: b"Request Timeout", 413: b"Content Too Large", 414: b"URI Too Long",
    415: b"Unsupported Media Type", 417: b"Expectation Failed", 422: b"Unprocessable Content",
    429: b"Too Many Requests", 431: b"Request Header Fields Too Large", 500: b"Internal Server Error",
    501: b"Not Implemented", 502: b"Bad Gateway", 503: b"Service Unavailable", 504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}  # fmt: skip
STATUS_LINES: Final = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"Status")) for status in range(200, 600)
}
JSON_TYPE: Final = b"content-type: application/json\r\n"
_SMALL_BODY_BYTES: Final = 16 * 1024
"""Bodies up to this size that came together with their head are not counted against the memory for bodies."""


class ClientGone(Exception):  # noqa: N818 - thrown into the flow by the connection
    """The client has closed its connection; nobody is left to answer."""


class BodySink:
    """Takes the body of a request in parts, as it arrives."""

    def take_part(self, data: bytes) -> None:
        raise NotImplementedError

    def end_body(self) -> None:
        """The body is complete."""
        raise NotImplementedError

    def fail_body(self, refusal: Refusal) -> None:
        """The rest of the body cannot be had."""
        raise NotImplementedError


class Link:
    """What an exchange, and whoever watches all connections, need of a connection. Subclassed by Connection."""

    deadline_at: float
    """When `on_deadline` wants to be called."""
    write: Callable[[bytes], None]
    """Puts bytes on the wire: the transport's own method, because each chunk of a stream goes through it."""

    def take_body(self, head: RequestHead, length: int) -> bytes | None:
        """The whole body when it has arrived together with the head; None when some of it is missing."""
        raise NotImplementedError

    def read_body(self, exchange: "Exchange", limit: int) -> Signal[bytes]:
        """Read the body from now on. The signal fails with Refusal."""
        raise NotImplementedError

    def stream_body(self, exchange: "Exchange", limit: int, sink: BodySink) -> None:
        """Read the body from now on and hand it to `sink` in parts."""
        raise NotImplementedError

    def pause_body(self) -> None:
        """Read no more of the body until `resume_body`: whoever takes it is full."""
        raise NotImplementedError

    def resume_body(self) -> None:
        raise NotImplementedError

    def finish(self, keep_alive: bool, unread_body: bool) -> None:
        """The answer is written: go on with the next request, or close."""
        raise NotImplementedError

    def cut(self) -> None:
        """Close at once; what is not on the wire yet is lost."""
        raise NotImplementedError

    def drain(self) -> None:
        """The gateway shuts down: close now if idle, else after the answer."""
        raise NotImplementedError

    def on_deadline(self, now_at: float) -> None:
        raise NotImplementedError

    @property
    def bodies(self) -> BodyBudget:
        raise NotImplementedError

    @property
    def draining(self) -> bool:
        raise NotImplementedError

    @property
    def peer(self) -> str:
        """The client's address, without its port."""
        raise NotImplementedError


class Exchange(Run):
    """See the module. Defaults stand on the class: an exchange sets only what differs."""

    answered = False
    reader_stuck = False
    """The client was cut because it did not read its answer."""
    probe_only = False
    """The connection was taken beyond the limit, for probes."""
    extra_lines = b""
    """Header lines that go out with whatever is answered (CORS)."""
    status = 0
    pause_source: Callable[[], None] | None = None
    """Stops whoever feeds the answer, while the client does not read it. Set for answers that are relayed in parts."""
    resume_source: Callable[[], None] | None = None
    client = ""
    """Whom the memory for the body is counted for; the peer's address until somebody knows better."""
    held_bytes = 0

    def __init__(self, link: Link, head: RequestHead, length: int) -> None:
        self.link = link
        self.head = head
        self.length = length
        self.keep_alive = head.keep_alive
        self.started_at = monotonic()
        self.request_id = take_request_id(head.request_id)
        self.body_read = not length and head.transfer_encoding is None

    # ---- the request's body

    def take_body(self, limit: int) -> bytes | None:
        """The whole body when it is here; None when it must be waited for. Refuses one that says it is too large."""
        if self.length > limit:
            raise Refusal(Reason.BODY_TOO_LARGE)
        body = self.link.take_body(self.head, self.length)
        if body is not None:
            self.body_read = True
            if len(body) > _SMALL_BODY_BYTES:
                self.hold_body(len(body))
        return body

    async def read_body(self, limit: int) -> bytes:
        """The whole body, when it has come."""
        self.check_expectation()
        try:
            body = await self.link.read_body(self, limit)
        except Refusal:
            self.keep_alive = False
            raise
        self.body_read = True
        return body

    def check_expectation(self) -> None:
        """Refuse an Expect header that asks for anything but permission to send the body."""
        expect = self.head.expect
        if expect is not None and expect.lower() != b"100-continue":
            raise Refusal(Reason.EXPECTATION)

    def hold_body(self, size: int) -> None:
        """Count bytes of the body that have arrived; refuses when bodies take too much memory already."""
        client = self.client or self.link.peer
        reason = self.link.bodies.take(client, size)
        if reason is not None:
            raise Refusal(reason)
        self.client = client
        self.held_bytes += size

    # ---- the answer

    def framing(self) -> bytes:
        """The Connection header, from what the client understands and whether the connection goes on."""
        if not self.keep_alive:
            return b"connection: close\r\n"
        return b"" if self.head.minor else b"connection: keep-alive\r\n"

    def write_answer(self, status: int, headers: bytes, body: bytes) -> None:
        """Write a whole answer of our own. `headers` are complete lines."""
        if not self.body_read and self.link.take_body(self.head, self.length) is not None:
            self.body_read = True  # the body was here already: nothing stands between this answer and the next request
        if self.link.draining or not self.body_read:
            self.keep_alive = False
        self.status = status
        self.answered = True
        length = b"" if status == 204 else b"content-length: %d\r\n" % len(body)
        if self.head.method == b"HEAD":
            body = b""
        self.link.write(
            b"%b%b%bx-request-id: %b\r\n%b%b\r\n%b"
            % (STATUS_LINES[status], headers, length, self.request_id, self.extra_lines, self.framing(), body)
        )

    def write_json(self, status: int, body: bytes) -> None:
        self.write_answer(status, JSON_TYPE, body)

    def write(self, data: bytes) -> None:
        """More of an answer that has begun."""
        self.link.write(data)

    def pause(self) -> None:
        if self.pause_source is not None:
            self.pause_source()

    def resume(self) -> None:
        if self.resume_source is not None:
            self.resume_source()

    # ---- its end

    def finish(self) -> None:
        """Everything is written. The connection goes on or closes."""
        self.pause_source = self.resume_source = None
        if self.held_bytes:
            self.link.bodies.give_back(self.client, self.held_bytes)
            self.held_bytes = 0
        self.link.finish(self.keep_alive, not self.body_read)

    def cut(self) -> None:
        """The answer cannot be completed: closing early is the only way left to say so."""
        self.pause_source = self.resume_source = None
        self.link.cut()

    def crashed(self, error: BaseException) -> None:
        """The flow itself failed to end the request. Its coroutine catches every error before, so this is a bug."""
        _log.error("request %s did not end", self.request_id.decode(), exc_info=error)
        self.cut()


class Handler:
    """What a listener hands its requests to. Subclassed by the flow."""

    def serve(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        """The coroutine that answers one request."""
        raise NotImplementedError

    def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        """Write the answer to a client that did not send a request that can be served."""
        raise NotImplementedError
