"""Requests to a process beside the gateway: any method, the body passed on as it comes, over a Unix socket.

Everything that can block (files, batches, a console) runs in such a process, so that it never stalls a stream. Does not
know what the process does.
"""

from time import monotonic
from typing import Final

from remuda.gateway.api import problems
from remuda.gateway.api.problems import Refused
from remuda.gateway.api.refusals import dialect_of
from remuda.gateway.http.exchange import BodySink, Exchange
from remuda.gateway.http.refusal import Reason, Refusal
from remuda.gateway.record.record import Record
from remuda.gateway.serving.relay import Relay
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Side
from remuda.gateway.upstream.connection import Upstream
from remuda.gateway.upstream.pool import Address, Pool, PoolLimits
from remuda.gateway.upstream.request import render_side_head
from remuda.gateway.upstream.taker import AttemptFailed
from remuda.gateway.upstream.trace import continue_trace
from remuda.policy.outcome import Outcome

_LAST_CHUNK: Final = b"0\r\n\r\n"


class Sides:
    """The processes beside this gateway."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._limits = PoolLimits(settings.timeouts.connect_s, 0, 0.0)
        self._pools: dict[str, Pool] = {}

    async def answer(self, exchange: Exchange, record: Record, side: Side) -> Outcome:
        """Pass the request on and its answer back. A connection carries one request: setting one up costs little."""
        if exchange.length > side.body_bytes:
            raise Refusal(Reason.BODY_TOO_LARGE)
        exchange.check_expectation()
        try:
            upstream = await self._pool_of(side).connect()
        except AttemptFailed as failed:
            raise Refused(problems.side_failed(side.path, failed.detail)) from None
        record.model_name = side.name
        try:
            return await self._pass_on(exchange, record, side, upstream)
        finally:
            upstream.release()

    async def _pass_on(self, exchange: Exchange, record: Record, side: Side, upstream: Upstream) -> Outcome:
        head = exchange.head
        chunked = head.transfer_encoding is not None
        length = None if chunked else exchange.length
        request = render_side_head(head.method, head.target, _lines_for(exchange, record), length)
        answer = upstream.begin(request, monotonic() + self._settings.timeouts.first_byte_s)
        passed = PassedBody(exchange, upstream, chunked)
        if exchange.body_read:
            upstream.send_part(b"", last=True)
        else:
            exchange.link.stream_body(exchange, side.body_bytes, passed)
        try:
            await answer
        except AttemptFailed as failed:
            if passed.refusal is not None:
                raise passed.refusal from None
            raise Refused(problems.side_failed(side.path, failed.detail)) from None
        stream = Relay(exchange, record, upstream, dialect_of(record.route_name))
        await stream.run(self._settings.timeouts.idle_s)
        if stream.trouble:
            return Outcome.STREAM_BROKEN
        return Outcome.COMPLETED if upstream.head.status < 400 else Outcome.REJECTED_BY_ENGINE

    def _pool_of(self, side: Side) -> Pool:
        pool = self._pools.get(side.socket)
        if pool is None:
            address = Address(side.name, "localhost", 0, socket_path=side.socket)
            pool = self._pools[side.socket] = Pool(address, self._limits, own=True)
        return pool

    def pools(self) -> list[Pool]:
        """Connections to be watched for their deadlines."""
        return list(self._pools.values())


def _lines_for(exchange: Exchange, record: Record) -> bytes:
    """The client's header lines that go on, and who it is: the process beside trusts the gateway for that."""
    head = exchange.head
    kept = [line for line in head.forwarded if not line.lower().startswith(b"x-remuda-")]
    own = (
        b"x-request-id: " + exchange.request_id,
        b"traceparent: " + continue_trace(head.traceparent),
        b"x-remuda-tenant: " + record.tenant.encode(),
    )
    return b"".join([line + b"\r\n" for line in (*kept, *own)])


class PassedBody(BodySink):
    """Passes a body on, and reads no more of it while the process beside is slow to take it."""

    def __init__(self, exchange: Exchange, upstream: Upstream, chunked: bool) -> None:
        self._exchange = exchange
        self._upstream = upstream
        self._chunked = chunked
        self.refusal: Refusal | None = None
        """Why the rest of the body could not be had."""
        upstream.on_full = exchange.link.pause_body
        upstream.on_room = exchange.link.resume_body

    def take_part(self, data: bytes) -> None:
        framed = b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data
        self._upstream.send_part(framed, last=False)

    def end_body(self) -> None:
        self._upstream.send_part(_LAST_CHUNK if self._chunked else b"", last=True)

    def fail_body(self, refusal: Refusal) -> None:
        """The process beside must not take half a body for a whole one."""
        self.refusal = refusal
        self._exchange.keep_alive = False
        self._upstream.fail("the client did not send the whole body")
