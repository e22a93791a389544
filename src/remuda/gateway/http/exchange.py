"""One request and its answer, as the flow sees them: read the body, answer, or have an engine's answer relayed.

Owns what is known about the request on its way (route, model, engine, outcome), which is what the ledger counts and
the log says. Does not know engines; a relay that feeds it is told to pause and resume. Created by `listen`.
"""

from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from remuda.gateway.api import problems
from remuda.gateway.api.problems import Refused
from remuda.gateway.http.body import BadBody
from remuda.gateway.http.head import RequestHead
from remuda.gateway.http.request_id import take_request_id
from remuda.gateway.waiting import Run
from remuda.observe.metrics import UNKNOWN
from remuda.policy.outcome import Outcome

if TYPE_CHECKING:
    from remuda.gateway.app import Gateway
    from remuda.gateway.http.connection import Connection
    from remuda.gateway.waiting import Signal

_CHUNKED_BYTES: Final = 1 << 20
"""Counted for a body that does not say its length."""
_ANTHROPIC: Final = frozenset({"messages", "count_tokens"})

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


class ClientGone(Exception):  # noqa: N818 - thrown into the flow by the connection
    """The client has closed; nobody is left to answer."""


class Source(Protocol):
    """What feeds the answer: told to stop while the client does not read."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Exchange(Run):
    """See the module. Defaults stand on the class: a request sets only what it has."""

    answered = False
    reader_stuck = False
    cors = b""
    engine_id = ""
    tenant = ""
    key_name = ""
    outcome: Outcome | None = None
    status = 0
    first_byte_s = 0.0
    events = 0
    last_byte_s = 0.0
    answer_bytes = 0
    usage: tuple[int, int] | None = None
    """Prompt and generated tokens, as the engine stated them."""
    tries = 0
    reserved_bytes = 0
    """Of the room for bodies; given back when the request ends."""

    def __init__(self, gateway: "Gateway", connection: "Connection", head: RequestHead, length: int) -> None:
        self.gateway = gateway
        self.connection = connection
        self.source: Source | None = None  # not on the class: mypyc leaves out defaults of a protocol's type
        self.route_name = self.model_name = UNKNOWN
        self.head = head
        self.length = length
        self.keep_alive = head.keep_alive
        self.started_s = monotonic()
        self.request_id = take_request_id(head.request_id)
        self.body_read = not length and head.transfer_encoding is None

    @property
    def dialect(self) -> problems.Dialect:
        """Whose error shape this client expects."""
        return problems.Dialect.ANTHROPIC if self.route_name in _ANTHROPIC else problems.Dialect.OPENAI

    # ---- the request's body

    def take_body(self, limit: int) -> bytes | None:
        """The whole body when it is here. Refuses one that says it is too large before a byte of it is read."""
        if self.length > limit:
            raise Refused(problems.body_too_large(limit))
        body = self.connection.take_body(self.head, self.length)
        if body is not None:
            self.body_read = True
        return body

    async def read_body(self, limit: int) -> bytes:
        """The whole body, when it has come."""
        head = self.head
        if head.expect is not None and head.expect.lower() != b"100-continue":
            raise Refused(problems.malformed_http("the only Expect served here is 100-continue"), 417)
        self.reserved_bytes = self.length or _CHUNKED_BYTES
        if not self.gateway.reserve_body(self.reserved_bytes):
            self.reserved_bytes = 0
            raise Refused(problems.overloaded("any", 1))
        body = await self._wait_for_body(self.connection.read_body(head, self.length, limit), limit)
        self.body_read = True
        return body

    async def _wait_for_body(self, signal: "Signal[bytes]", limit: int) -> bytes:
        try:
            return await signal
        except BadBody as bad:
            self.keep_alive = False
            if bad.status == 413:
                raise Refused(problems.body_too_large(limit)) from None
            raise Refused(problems.malformed_http(bad.message)) from None
        except TimeoutError:
            raise Refused(problems.request_timeout(self.gateway.settings.body_timeout_s)) from None

    # ---- the answer

    def framing(self) -> bytes:
        """Connection header lines, from what the client can do and whether we go on."""
        if not self.keep_alive:
            return b"connection: close\r\n"
        return b"" if self.head.minor else b"connection: keep-alive\r\n"

    def write_answer(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer of our own. `headers` are complete lines."""
        if not self.body_read and self.connection.take_body(self.head, self.length) is not None:
            self.body_read = True  # it was here already: nothing is left between this answer and the next request
        if self.gateway.draining or not self.body_read:
            self.keep_alive = False
        self.status = status
        self.answered = True
        length = b"" if status == 204 else b"content-length: %d\r\n" % len(body)
        if self.head.method == b"HEAD":
            body = b""
        self.connection.transport.write(
            b"%b%b%bx-request-id: %b\r\n%b%b\r\n%b"
            % (STATUS_LINES[status], headers, length, self.request_id, self.cors, self.framing(), body)
        )

    def write_json(self, status: int, body: bytes) -> None:
        self.write_answer(status, JSON_TYPE, body)

    def write_problem(self, problem: problems.Problem, status: int | None = None) -> Outcome:
        """Say what is wrong; the outcome it counts as."""
        headers = JSON_TYPE
        for name, value in problem.headers:
            if name == "connection":
                self.keep_alive = False
            else:
                headers += b"%b: %b\r\n" % (name.encode(), value.encode())
        headers += b"x-remuda-hop: %b\r\n" % problem.code.hop.encode()
        body = problem.body(self.request_id.decode(), self.dialect)
        self.write_answer(status or problem.status, headers, body)
        return problem.outcome

    def write(self, data: bytes) -> None:
        self.connection.transport.write(data)

    def pause(self) -> None:
        if self.source is not None:
            self.source.pause()

    def resume(self) -> None:
        if self.source is not None:
            self.source.resume()

    def finish(self) -> None:
        """Everything is written. The connection goes on or closes."""
        self.source = None
        self.connection.finish(self.keep_alive, not self.body_read)

    def cut(self) -> None:
        """The answer cannot be completed: closing early is the only way left to say so."""
        self.source = None
        self.connection.transport.abort()

    def crashed(self, error: BaseException) -> None:
        """A bug escaped the flow: say so, and go on with the others."""
        self.gateway.report_crash(self, error)
        if self.answered:
            self.cut()
            return
        self.keep_alive = False
        self.write_problem(problems.INTERNAL_ERROR)
        self.finish()
