"""What is counted: every request once under its outcome, times, tokens, retries; and the access log.

Plain integers and arrays during a request; a Snapshot only when somebody scrapes. Log lines are collected and written
in one go at the next tick. Does not know the exposition format. Called by `flow` and `forward`.
"""

from collections import defaultdict
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from remuda.gateway.http.exchange import Exchange
from remuda.observe import metrics
from remuda.observe.figures import FigureBoard
from remuda.observe.metrics import UNKNOWN, HistogramCounts, Labels, Metric
from remuda.policy.health import State
from remuda.policy.outcome import Outcome
from remuda.policy.retry import Phase

if TYPE_CHECKING:
    from remuda.gateway.app import Gateway
    from remuda.gateway.serving.directory import LiveModel


class ModelCounts:
    """Everything counted per model."""

    __slots__ = (
        "duration",
        "events",
        "first_byte",
        "generated_tokens",
        "per_token",
        "prompt_tokens",
        "request_bytes",
        "response_bytes",
        "retries_denied",
    )

    def __init__(self) -> None:
        self.first_byte = HistogramCounts(metrics.FIRST_BYTE_BUCKETS_S)
        self.duration = HistogramCounts(metrics.DURATION_BUCKETS_S)
        self.per_token = HistogramCounts(metrics.PER_TOKEN_BUCKETS_S)
        self.prompt_tokens = self.generated_tokens = 0
        self.events = self.request_bytes = self.response_bytes = 0
        self.retries_denied = 0

    def count_stream(self, events: int, elapsed_s: float) -> None:
        """A stream of so many events, from the first to the last."""
        self.events += events
        if events > 1 and elapsed_s > 0.0:
            self.per_token.observe(elapsed_s / (events - 1))


class Ledger:
    """See the module. `log_request` is called for requests worth a line, when there is a log."""

    def __init__(self, log_request: Callable[[Exchange, float], None] | None = None) -> None:
        self._outcomes: defaultdict[tuple[str, str, Outcome], int] = defaultdict(int)
        self._models: defaultdict[str, ModelCounts] = defaultdict(ModelCounts)
        self._retries: defaultdict[tuple[str, Phase], int] = defaultdict(int)
        self._refused_keys: defaultdict[str, int] = defaultdict(int)
        self._log_request = log_request
        self.board = FigureBoard()
        self.generation = 0
        self.connections_opened = 0
        self.connections_refused = 0

    # ---- during requests

    def account(self, exchange: Exchange, outcome: Outcome) -> None:
        """The one place where a request is counted."""
        exchange.outcome = outcome
        model = exchange.model_name
        self._outcomes[model, exchange.route_name, outcome] += 1
        first_s = exchange.first_byte_s
        duration_s = monotonic() - exchange.started_s
        if first_s:
            counts = self._models[model]
            counts.request_bytes += exchange.length
            counts.response_bytes += exchange.answer_bytes
            counts.first_byte.observe(first_s - exchange.started_s)
            counts.duration.observe(duration_s)
            if exchange.usage is not None:
                prompt, generated = exchange.usage
                counts.prompt_tokens += prompt
                counts.generated_tokens += generated
            if exchange.events:
                counts.count_stream(exchange.events, exchange.last_byte_s - first_s)
        if self._log_request is not None:
            self._log_request(exchange, duration_s)

    def count_retry(self, model: str, phase: Phase) -> None:
        self._retries[model, phase] += 1

    def count_retry_denied(self, model: str) -> None:
        self._models[model].retries_denied += 1

    def count_refused_key(self, reason: str) -> None:
        self._refused_keys[reason] += 1

    def count_malformed(self, outcome: Outcome) -> None:
        """Bytes that never became a request."""
        self._outcomes[UNKNOWN, UNKNOWN, outcome] += 1

    def outcomes(self) -> dict[tuple[str, str, Outcome], int]:
        """(model, route, outcome) → how many, so far."""
        return dict(self._outcomes)

    # ---- at a scrape

    def snapshot(self, gateway: "Gateway") -> dict[Metric, dict[Labels, float | HistogramCounts]]:
        """Everything, as the exposition wants it."""
        from remuda.observe.process import read_process

        values: dict[Metric, dict[Labels, float | HistogramCounts]] = defaultdict(dict)
        for (model, route, outcome), count in self._outcomes.items():
            values[metrics.REQUESTS][model, route, outcome.value] = count
        for model, counts in self._models.items():
            _put_model(values, (model,), counts)
        for (model, phase), count in self._retries.items():
            values[metrics.RETRIES][model, phase.name.lower()] = count
        for reason, count in self._refused_keys.items():
            values[metrics.AUTHENTICATION_FAILURES][reason,] = count
        for live in gateway.directory.models:
            _put_engines(values, live)
        values[metrics.CLIENT_CONNECTIONS][()] = len(gateway.connections)
        values[metrics.CLIENT_CONNECTIONS_OPENED][()] = self.connections_opened
        values[metrics.CLIENT_CONNECTIONS_REFUSED][()] = self.connections_refused
        values[metrics.TABLE_GENERATION][()] = self.generation
        values[metrics.BUILD][gateway.version, gateway.python] = 1
        for counted_elsewhere in (read_process(), self.board.read(monotonic())):
            for metric, series in counted_elsewhere.items():
                values[metric].update(series)
        return values


def _put_model(
    values: dict[Metric, dict[Labels, float | HistogramCounts]], labels: Labels, counts: ModelCounts
) -> None:
    values[metrics.TIME_TO_FIRST_BYTE][labels] = counts.first_byte
    values[metrics.REQUEST_DURATION][labels] = counts.duration
    values[metrics.TIME_PER_TOKEN][labels] = counts.per_token
    values[metrics.PROMPT_TOKENS][labels] = counts.prompt_tokens
    values[metrics.GENERATED_TOKENS][labels] = counts.generated_tokens
    values[metrics.STREAM_EVENTS][labels] = counts.events
    values[metrics.REQUEST_BYTES][labels] = counts.request_bytes
    values[metrics.RESPONSE_BYTES][labels] = counts.response_bytes
    values[metrics.RETRIES_DENIED][labels] = counts.retries_denied


def _put_engines(values: dict[Metric, dict[Labels, float | HistogramCounts]], model: "LiveModel") -> None:
    name = model.route.name
    values[metrics.MODEL_READY][name,] = int(model.ready)
    values[metrics.REQUESTS_IN_FLIGHT][name,] = sum(engine.load.requests for engine in model.engines)
    for engine in model.engines:
        labels = (name, engine.endpoint.id)
        for state in (*(state.value for state in State), "draining"):
            values[metrics.ENDPOINT_STATE][*labels, state] = int(state == engine.state_name)
        values[metrics.ENDPOINT_EJECTIONS][labels] = engine.ejections
        values[metrics.ENDPOINT_REQUESTS_IN_FLIGHT][labels] = engine.load.requests
        values[metrics.ENDPOINT_WAITING_TOKENS][labels] = engine.load.waiting_tokens
        values[metrics.ENDPOINT_SPEED][labels] = engine.load.tokens_per_s
        values[metrics.ENDPOINT_CONNECTIONS][labels] = len(engine.pool.connections)
