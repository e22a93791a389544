"""Get an answer to begin: pick an engine, send, wait for the first byte; elsewhere again while that is allowed.

A failed try is repeated by phase (`policy.retry`): not connected: always; sent and nothing received: inference has no
effect beyond its answer, so that is safe too; after the first byte: never (that will be resume). A kept-alive
connection that the engine had already closed is not a failure of anything: it is replaced once, uncounted. An engine's
5xx is tried elsewhere as long as there is an elsewhere; the last engine's own words are relayed. Called by `flow` and
by `generate`.
"""

from time import monotonic
from typing import TYPE_CHECKING, Final

from remuda.gateway.api import problems
from remuda.gateway.api.ask import Ask
from remuda.gateway.api.problems import Refused
from remuda.gateway.http.exchange import Exchange
from remuda.gateway.serving.directory import Lease, Served
from remuda.gateway.serving.live_engine import LiveEngine
from remuda.gateway.upstream.connection import AttemptFailed, Upstream
from remuda.gateway.upstream.request import render_head
from remuda.gateway.upstream.trace import continue_trace
from remuda.policy.health import Event
from remuda.policy.retry import Phase, may_retry
from remuda.vllm import markers

if TYPE_CHECKING:
    from remuda.gateway.app import Gateway

_OVERLOADED: Final = 503


class Request:
    """What is sent to whichever engine takes it."""

    __slots__ = ("_block", "_body", "_name", "_request_id", "_trace", "ask", "served")

    def __init__(self, ask: Ask, served: Served, exchange: Exchange) -> None:
        self.ask = ask
        self.served = served
        self._body = ask.body
        self._name = served.name
        self._block = exchange.head.block
        self._request_id = exchange.request_id
        self._trace = continue_trace(exchange.head.traceparent)

    def render(self, engine: LiveEngine) -> tuple[bytes, bytes]:
        """Head and body for this engine. The body is the client's own, unless the engine knows the model otherwise."""
        served = self.served
        name = served.adapter or engine.model_name or served.canonical
        if name != self._name and self._name is not None:
            self._body = self.ask.rename_model(name)
            self._name = name
        body = self._body
        path, pool = self.ask.route.path, engine.pool
        start = pool.starts.get(path) or pool.start_for(path)
        return render_head(start, self._block, self._request_id, self._trace, len(body)), body


async def forward(gateway: "Gateway", request: Request, exchange: Exchange) -> Lease:
    """The first answer that may be relayed, aboard its lease. Raises Refused when there is none."""
    gateway.retry_budget.count_request()
    model, prompt_tokens = request.served.model, request.ask.prompt_tokens
    tried: tuple[LiveEngine, ...] = ()
    while True:
        engine = model.pick(prompt_tokens, tried)
        if engine is None:
            raise Refused(problems.model_not_ready(request.served.canonical, model.route.waiting))
        exchange.tries += 1
        exchange.engine_id = engine.endpoint.id
        lease = Lease(engine, prompt_tokens)
        try:
            status = await attempt(lease, request, gateway.settings.first_byte_timeout_s)
        except AttemptFailed as failure:
            engine.failures += 1
            gateway.directory.see(engine, _EVENTS[failure.phase] if not failure.timed_out else Event.TIMED_OUT)
            tried = (*tried, engine)
            if not model.has_other(tried) or not _may_try_again(gateway, request, exchange, failure.phase):
                raise Refused(_explain(request, exchange, failure, gateway)) from None
        else:
            tried = (*tried, engine)
            if status < 500 or not _try_elsewhere(gateway, request, exchange, lease, tried):
                return lease
            lease.close()
        engine.retries += 1


_EVENTS: Final = {Phase.CONNECT: Event.CONNECT_FAILED, Phase.SENT: Event.BROKEN, Phase.STREAMING: Event.BROKEN}


async def attempt(lease: Lease, request: Request, first_byte_timeout_s: float) -> int:
    """One try; the status of the answer that began. On every other way out the lease is closed."""
    pool = lease.engine.pool
    try:
        head, body = request.render(lease.engine)
        fresh = False
        while True:
            upstream = lease.upstream = pool.take_idle(fresh) or await pool.connect()
            try:
                await upstream.send(head, body, lease.started_s + first_byte_timeout_s)
                break
            except AttemptFailed as failure:
                if fresh or not failure.stale:
                    raise
                upstream.release()
                fresh = True
        _refuse_interrupted(upstream)
        if upstream.head.fault:
            raise AttemptFailed(Phase.SENT, upstream.head.fault)
        lease.begin_answer(upstream)
    except BaseException:  # the client leaving is thrown in here; a lease ends on every exit
        lease.close()
        raise
    return upstream.head.status


def _refuse_interrupted(upstream: Upstream) -> None:
    """An engine that was told to stop answers politely; nothing was relayed yet, so it is no answer."""
    first = upstream.peek()
    if first.startswith(markers.IN_BAND_ERROR) or (upstream.complete and first.find(markers.ABORT) >= 0):
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
    gateway: "Gateway", request: Request, exchange: Exchange, lease: Lease, tried: tuple[LiveEngine, ...]
) -> bool:
    """An engine answered 5xx. Overload is no fault of its health; anything else is."""
    assert lease.upstream is not None
    status = lease.upstream.head.status
    if status not in markers.ENGINE_FAULT_STATUSES:
        return False
    if status != _OVERLOADED:
        gateway.directory.see(lease.engine, Event.ENGINE_ERROR)
    return request.served.model.has_other(tried) and _may_try_again(gateway, request, exchange, Phase.SENT)


def _explain(request: Request, exchange: Exchange, failure: AttemptFailed, gateway: "Gateway") -> problems.Problem:
    model = request.served.canonical
    if failure.phase is Phase.CONNECT:
        return problems.engine_unreachable(model, exchange.tries)
    if failure.timed_out:
        return problems.engine_timeout(model, gateway.settings.first_byte_timeout_s)
    return problems.engine_failed(model, failure.detail)
