"""Get an answer to begin: pick an engine, send, wait for the first byte; on another engine again while that is allowed.

A failed attempt is repeated by phase (`policy.retry`): not connected: always; sent and nothing received: inference has
no effect beyond its answer, so that is safe too; after the first byte: never. An engine's 5xx is tried on another
engine as long as there is one; the last engine's own words are relayed. Who is to blame for failed attempts is decided
when the request's fate is known (`policy.blame`).
"""

from time import monotonic
from typing import Final

from remuda.gateway.api import problems
from remuda.gateway.api.ask import Ask
from remuda.gateway.api.problems import Problem, Refused
from remuda.gateway.http.exchange import Exchange
from remuda.gateway.record.ledger import Ledger
from remuda.gateway.record.record import Record
from remuda.gateway.serving.attempt import Attempt
from remuda.gateway.serving.directory import Directory, Served
from remuda.gateway.serving.live_engine import LiveEngine
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.upstream.request import render_head
from remuda.gateway.upstream.taker import AttemptFailed
from remuda.gateway.upstream.trace import continue_trace
from remuda.policy.blame import Failure, decide_blame, is_suspect
from remuda.policy.health import Event
from remuda.policy.outcome import Outcome
from remuda.policy.retry import Phase, RetryBudget, may_retry
from remuda.vllm import markers

_JOINED_BYTES: Final = 64 * 1024
"""An edited body up to this size is sent as one piece."""


class Request:
    """What is sent to whichever engine takes it."""

    __slots__ = ("_block", "_body", "_length", "_name", "_request_id", "_trace", "_usage_request", "ask", "served")

    def __init__(self, ask: Ask, served: Served, exchange: Exchange, lines: bytes) -> None:
        """`lines` are the client's header lines that go on to the engine."""
        self.ask = ask
        self.served = served
        self._body: bytes | list[bytes | memoryview] = ask.body
        self._length = len(ask.body)
        self._name = served.name
        self._usage_request = ask.usage_request()
        if self._usage_request is not None:
            self._edit({"stream_options": self._usage_request})
        self._block = lines
        self._request_id = exchange.request_id
        self._trace = continue_trace(exchange.head.traceparent)

    @property
    def asks_for_usage(self) -> bool:
        """The gateway itself asks for the usage of the stream, so what states it is not for the client."""
        return self._usage_request is not None

    def _edit(self, edits: dict[str, bytes]) -> None:
        """Change fields of the body. A large body becomes a list of pieces: joining them would stall the event loop."""
        pieces = self.ask.change(edits)
        self._length = sum([len(piece) for piece in pieces])
        self._body = b"".join(pieces) if self._length <= _JOINED_BYTES else pieces

    def render(self, engine: LiveEngine) -> tuple[bytes, bytes | list[bytes | memoryview]]:
        """Head and body for this engine. The body is the client's own but for what must be edited.

        That is the model's name, where the engine knows it by another one, and the request for a stream's usage.
        """
        served = self.served
        name = served.adapter or engine.model_name or served.canonical
        if name != self._name and self._name is not None:
            edits = {"model": self.ask.encode_name(name)}
            if self._usage_request is not None:
                edits["stream_options"] = self._usage_request
            self._edit(edits)
            self._name = name
        path, pool = self.ask.route.path, engine.pool
        start = pool.starts.get(path) or pool.start_for(path)
        return render_head(start, self._block, self._request_id, self._trace, self._length), self._body


class Forwarder:
    """Sends requests to the engines of a directory."""

    def __init__(self, settings: GatewaySettings, directory: Directory, ledger: Ledger) -> None:
        self._settings = settings
        self._directory = directory
        self._ledger = ledger
        self._budget = RetryBudget(
            settings.retries.budget_ratio, settings.retry_per_s, settings.retry_most, monotonic()
        )

    async def forward(self, request: Request, record: Record) -> Attempt:
        """The first answer that may be relayed, with the attempt that got it. Raises Refused when there is none."""
        self._budget.count_request()
        served = request.served
        model, prompt_tokens = served.model, request.ask.prompt_tokens
        tried: tuple[LiveEngine, ...] = ()
        failures: list[Failure] = []
        answered = False
        try:
            while True:
                engine = model.pick(prompt_tokens, tried)
                if engine is None:
                    raise Refused(problems.model_not_ready(served.canonical, model.explain_wait()))
                attempt = Attempt(engine, prompt_tokens)
                record.begin_attempt(attempt)
                tried = (*tried, engine)
                try:
                    head, body = request.render(engine)
                    await attempt.send(head, body, self._settings.timeouts.first_byte_s)
                except AttemptFailed as failed:
                    attempt.failure = failed.detail
                    failures.append(_failure_of(engine, failed))
                    if not self._may_try_again(request, record, tried, failed.phase, failures):
                        raise Refused(self._explain(request, record, failed)) from None
                    continue
                except BaseException:
                    attempt.close()
                    raise
                failure = _judge_status(attempt)
                if failure is None:
                    answered = True
                    return attempt
                if failure.event is not Event.OK:
                    failures.append(failure)
                if not self._may_try_again(request, record, tried, Phase.SENT, failures):
                    return attempt  # the last engine's own words are relayed
                attempt.close()
        finally:
            if failures:
                self._directory.blame(decide_blame(failures, answered))

    def _may_try_again(
        self,
        request: Request,
        record: Record,
        tried: tuple[LiveEngine, ...],
        phase: Phase,
        failures: list[Failure],
    ) -> bool:
        """Whether another engine gets the request: there is one, the phase allows it, and the budget pays for it."""
        model = request.served.model
        if not model.has_untried(tried) or is_suspect(failures):
            return False
        if not may_retry(phase, True, record.tries, self._settings.retries.attempts):
            return False
        name = model.route.name
        if not self._budget.take(monotonic()):
            self._ledger.count_retry_denied(name)
            return False
        self._ledger.count_retry(name, phase)
        return True

    def _explain(self, request: Request, record: Record, failed: AttemptFailed) -> Problem:
        model = request.served.canonical
        if failed.phase is Phase.CONNECT:
            return problems.engine_unreachable(model, record.tries)
        if failed.timed_out:
            return problems.engine_timeout(model, self._settings.timeouts.first_byte_s)
        return problems.engine_failed(model, failed.detail)

    def judge(self, attempt: Attempt, trouble: str = "") -> Outcome:
        """What a relayed answer counts as, for the request and for the engine's health. `trouble`: why it broke off."""
        engine, status = attempt.engine, attempt.upstream.head.status
        if trouble:
            attempt.failure = trouble
            self._directory.see(engine, Event.BROKEN, certain=False)
            return Outcome.STREAM_BROKEN
        if status < 500:
            if not engine.pristine:
                self._directory.see(engine, Event.OK)
            return Outcome.COMPLETED if status < 400 else Outcome.REJECTED_BY_ENGINE
        return Outcome.NO_CAPACITY if status == 503 else Outcome.UPSTREAM_FAILED


_EVENTS: Final = {Phase.CONNECT: Event.CONNECT_FAILED, Phase.SENT: Event.BROKEN, Phase.STREAMING: Event.BROKEN}


def _failure_of(engine: LiveEngine, failed: AttemptFailed) -> Failure:
    event = Event.TIMED_OUT if failed.timed_out else _EVENTS[failed.phase]
    return Failure(engine.endpoint.id, event, certain=failed.phase is Phase.CONNECT)


def _judge_status(attempt: Attempt) -> Failure | None:
    """Why the answer that began is none that may be relayed while there is another engine; None when it is one.

    Overload is a reason to ask another engine, and nobody's fault (Event.OK).
    """
    upstream = attempt.upstream
    status = upstream.head.status
    engine_id = attempt.engine_id
    if status not in markers.ENGINE_FAULT_STATUSES:
        return None
    body = upstream.peek()
    if markers.is_overload(status, body):
        return Failure(engine_id, Event.OK, certain=True)
    return Failure(engine_id, Event.ENGINE_ERROR, certain=markers.is_draining(status, body))
