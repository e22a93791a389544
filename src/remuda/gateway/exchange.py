"""One request and its answer, as the flow sees them: read the body, answer, or have an engine's answer relayed.

Owns what is known about the request on its way (route, model, engine, outcome), which is what the ledger counts and
the log says. Does not know engines; a relay that feeds it is told to pause and resume. Created by `listen`.
"""

from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from remuda.gateway import answers, tracing
from remuda.gateway.request_body import BadBody
from remuda.gateway.request_head import RequestHead
from remuda.policy.outcome import Outcome

if TYPE_CHECKING:
    from remuda.gateway.listen import Connection
    from remuda.gateway.pages import Page
    from remuda.gateway.waiting import Run, Signal
    from remuda.vllm.routes import Route

NEVER: Final = float("inf")
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


class Refused(Exception):  # noqa: N818 - it is an answer, not an accident
    """The flow ends here with an answer of our own."""

    def __init__(self, problem: answers.Problem, status: int | None = None) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.status = status


class ClientGone(Exception):  # noqa: N818 - thrown into the flow by the connection
    """The client has closed; nobody is left to answer."""


class Source(Protocol):
    """What feeds the answer: told to stop while the client does not read."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Exchange:
    """See the module."""

    __slots__ = (
        "answered",
        "body_read",
        "connection",
        "cors",
        "dialect",
        "engine_id",
        "events",
        "first_byte_s",
        "generated_tokens",
        "head",
        "keep_alive",
        "key_name",
        "model_name",
        "outcome",
        "prompt_tokens",
        "reader_stuck",
        "request_id",
        "route_name",
        "run",
        "source",
        "started_s",
        "status",
        "tenant",
        "tries",
    )

    run: "Run"

    def __init__(self, connection: "Connection", head: RequestHead) -> None:
        self.connection = connection
        self.head = head
        self.keep_alive = head.keep_alive
        self.started_s = monotonic()
        self.request_id = tracing.take_request_id(head.request_id)
        self.body_read = head.transfer_encoding is None and not head.content_length
        self.answered = False
        self.source: Source | None = None
        self.cors = b""
        self.dialect = answers.Dialect.OPENAI
        self.route_name = "unknown"
        self.model_name = ""
        self.engine_id = ""
        self.tenant = self.key_name = ""
        self.outcome: Outcome | None = None
        self.status = 0
        self.first_byte_s = 0.0
        self.events = 0
        self.prompt_tokens: int | None = None
        self.generated_tokens: int | None = None
        self.tries = 0
        self.reader_stuck = False

    # ---- the request's body

    async def read_body(self, limit: int) -> bytes:
        """The whole body. Refuses one that says it is too large before a byte of it is read."""
        head = self.head
        if head.expect is not None and head.expect.lower() != b"100-continue":
            raise Refused(answers.malformed_http("the only Expect served here is 100-continue"), 417)
        if head.content_length is not None and int(head.content_length) > limit:
            raise Refused(answers.body_too_large(limit))
        body = self.connection.read_body(head, limit)
        if not isinstance(body, bytes):
            body = await self._wait_for_body(body, limit)
        self.body_read = True
        return body

    async def _wait_for_body(self, signal: "Signal[bytes]", limit: int) -> bytes:
        try:
            return await signal
        except BadBody as bad:
            self.keep_alive = False
            if bad.status == 413:
                raise Refused(answers.body_too_large(limit)) from None
            raise Refused(answers.malformed_http(bad.message)) from None
        except TimeoutError:
            raise Refused(answers.request_timeout(self.connection.settings.body_timeout_s)) from None

    # ---- the answer

    def enter(self, route: "Route | Page") -> None:
        """It is known where this request goes."""
        self.route_name = route.name
        if route.name in _ANTHROPIC:
            self.dialect = answers.Dialect.ANTHROPIC

    def framing(self) -> bytes:
        """Connection header lines, from what the client can do and whether we go on."""
        if not self.keep_alive:
            return b"connection: close\r\n"
        return b"" if self.head.minor else b"connection: keep-alive\r\n"

    def write_answer(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer of our own. `headers` are complete lines."""
        if self.connection.draining or not self.body_read:
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

    def write_problem(self, problem: answers.Problem, status: int | None = None) -> Outcome:
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

    def crash(self, error: BaseException) -> None:
        """A bug escaped the flow."""
        self.connection.report_crash(self, error)
