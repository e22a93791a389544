"""Get an answer to begin: pick an engine, send, wait for the first byte; elsewhere again while that is allowed.

A failed try is repeated by phase (`policy.retry`): not connected: always; sent and nothing received: inference has no
effect beyond its answer, so that is safe too; after the first byte: never (that will be resume). A kept-alive connection that the
engine had already closed is not a failure of anything: it is replaced once, uncounted. An engine's 5xx is tried
elsewhere as long as there is an elsewhere; the last engine's own words are relayed. Called by `flow`; used by `batch`.
"""

from time import monotonic
from typing import TYPE_CHECKING, Final

from remuda.gateway import answers, tracing
from remuda.gateway.ask import Ask, replace_model
from remuda.gateway.engines import Engine, Lease, Served
from remuda.gateway.exchange import Exchange, Refused
from remuda.gateway.upstream import AttemptFailed, Upstream
from remuda.policy.health import Event
from remuda.policy.retry import Phase, may_retry
from remuda.vllm import markers

if TYPE_CHECKING:
    from remuda.gateway.app import Gateway

_OVERLOADED: Final = 503
_INTERRUPTED: Final = (markers.ABORT, markers.ABORT_SPACED)


class Request:
    """What is sent to whichever engine takes it."""

    __slots__ = ("_body", "_body_name", "_head", "ask", "served")

    def __init__(self, ask: Ask, served: Served, exchange: Exchange) -> None:
        self.ask = ask
        self.served = served
        head = exchange.head
        lines = b"\r\n".join(head.forwarded)
        if lines:
            lines += b"\r\n"
        self._head = b"%bx-request-id: %b\r\ntraceparent: %b\r\n" % (
            lines,
            exchange.request_id,
            tracing.continue_trace(head.traceparent),
        )
        self._body = ask.body
        self._body_name = ask.model

    def render(self, engine: Engine) -> tuple[bytes, bytes]:
        """Head and body for this engine. The body is the client's own unless this engine knows the model by another name."""
        served = self.served
        name = served.adapter or engine.endpoint.upstream_model or served.model.route.served_name
        if self._body_name is not None and name != self._body_name:
            self._body = replace_model(self._body, name)
            self._body_name = name
        head = b"POST %b%b HTTP/1.1\r\n%b%bcontent-length: %d\r\n\r\n" % (
            engine.path_prefix,
            self.ask.route.path.encode(),
            engine.head_lines,
            self._head,
            len(self._body),
        )
        return head, self._body


class Reply:
    """An engine's answer that has begun, with everything that must be given back when it ends."""

    __slots__ = ("engine", "lease", "upstream")

    def __init__(self, lease: Lease, upstream: Upstream) -> None:
        self.lease = lease
        self.engine = lease.engine
        self.upstream = upstream

    def close(self) -> None:
        self.lease.release()
        self.upstream.release()


async def forward(gateway: "Gateway", request: Request, exchange: Exchange) -> Reply:
    """The first answer that may be relayed. Raises Refused when there is none."""
    gateway.retry_budget.count_request()
    tried: tuple[Engine, ...] = ()
    served = request.served
    while True:
        engine = served.model.pick(request.ask.prompt_tokens, tried)
        if engine is None:
            raise Refused(answers.model_not_ready(served.canonical, served.model.route.waiting))
        exchange.tries += 1
        exchange.engine_id = engine.endpoint.id
        lease = Lease(engine, request.ask.prompt_tokens)
        try:
            reply = await attempt(gateway, request, lease)
        except AttemptFailed as failure:
            engine.failures += 1
            gateway.directory.see(engine, _EVENTS[failure.phase] if not failure.timed_out else Event.TIMED_OUT)
            if not _may_try_again(gateway, request, exchange, failure.phase):
                raise Refused(_explain(request, exchange, failure, gateway)) from None
        else:
            if reply.upstream.status < 500 or not _try_elsewhere(gateway, request, exchange, reply, (*tried, engine)):
                return reply
            reply.close()
        tried = (*tried, engine)
        engine.retries += 1


_EVENTS: Final = {Phase.CONNECT: Event.CONNECT_FAILED, Phase.SENT: Event.BROKEN, Phase.STREAMING: Event.BROKEN}


async def attempt(gateway: "Gateway", request: Request, lease: Lease) -> Reply:
    """One try. The lease is released and the connection given back on every way out but a Reply."""
    upstream: Upstream | None = None
    engine = lease.engine
    try:
        head, body = request.render(engine)
        fresh = False
        while True:
            taken = engine.take_connection(fresh)
            upstream = taken if isinstance(taken, Upstream) else await taken
            try:
                await upstream.send(head, body, gateway.settings.first_byte_timeout_s)
                break
            except AttemptFailed as failure:
                if fresh or not failure.stale:
                    raise
                upstream.release()
                fresh = True
        _refuse_interrupted(upstream)
        lease.first_byte(monotonic(), measure=upstream.streams)
    except BaseException:
        lease.release()
        if upstream is not None:
            upstream.release()
        raise
    return Reply(lease, upstream)


def _refuse_interrupted(upstream: Upstream) -> None:
    """An engine that was told to stop answers politely; nothing was relayed yet, so it is no answer."""
    first = upstream.peek()
    if first.startswith(markers.IN_BAND_ERROR) or (upstream.complete and any(mark in first for mark in _INTERRUPTED)):
        raise AttemptFailed(Phase.SENT, "it was stopped while it worked on the request")


def _may_try_again(gateway: "Gateway", request: Request, exchange: Exchange, phase: Phase) -> bool:
    if not may_retry(phase, True, exchange.tries, gateway.settings.attempts):
        return False
    model = request.served.model.route.name
    if not gateway.retry_budget.take(monotonic()):
        gateway.ledger.count_retry_denied(model)
        return False
    gateway.ledger.count_retry(model, phase)
    return True


def _try_elsewhere(
    gateway: "Gateway", request: Request, exchange: Exchange, reply: Reply, tried: tuple[Engine, ...]
) -> bool:
    """An engine answered 5xx. Overload is no fault of its health; anything else is."""
    if reply.upstream.status not in markers.ENGINE_FAULT_STATUSES:
        return False
    if reply.upstream.status != _OVERLOADED:
        gateway.directory.see(reply.engine, Event.ENGINE_ERROR)
    others = [engine for engine in request.served.model.candidates if engine not in tried]
    return bool(others) and _may_try_again(gateway, request, exchange, Phase.SENT)


def _explain(request: Request, exchange: Exchange, failure: AttemptFailed, gateway: "Gateway") -> answers.Problem:
    model = request.served.canonical
    if failure.phase is Phase.CONNECT:
        return answers.engine_unreachable(model, exchange.tries)
    if failure.timed_out:
        return answers.engine_timeout(model, gateway.settings.first_byte_timeout_s)
    return answers.engine_failed(model, failure.detail)
