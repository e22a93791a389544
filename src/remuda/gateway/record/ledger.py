"""What is counted: every request once under its outcome, its times and tokens, retries; and a line in the access log.

Plain integers and arrays during a request; a snapshot only when somebody scrapes. Does not know how metrics are
rendered, nor engines and connections, which have figures of their own.
"""

from collections import defaultdict
from collections.abc import Callable
from time import monotonic

from remuda.gateway.http.exchange import Exchange
from remuda.gateway.record.record import Record
from remuda.observe import metrics
from remuda.observe.metrics import UNKNOWN, HistogramCounts, Labels, Metric
from remuda.policy.outcome import Outcome
from remuda.policy.retry import Phase

Series = dict[Metric, dict[Labels, float | HistogramCounts]]
LogRequest = Callable[[Exchange, Record, Outcome, float], None]
"""Writes the line of a request: (exchange, record, outcome, duration in seconds)."""


class ModelCounts:
    """Everything counted per model."""

    def __init__(self) -> None:
        self.first_byte = HistogramCounts(metrics.FIRST_BYTE_BUCKETS_S)
        self.duration = HistogramCounts(metrics.DURATION_BUCKETS_S)
        self.per_token = HistogramCounts(metrics.PER_TOKEN_BUCKETS_S)
        self.prompt_tokens = 0
        self.generated_tokens = 0
        self.events = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.retries_denied = 0

    def count_tokens(self, record: Record) -> None:
        if record.prompt_tokens >= 0:
            self.prompt_tokens += record.prompt_tokens
            self.generated_tokens += record.generated_tokens

    def count_stream(self, record: Record) -> None:
        """The events of a stream, and the mean time between two of them."""
        self.events += record.events
        elapsed_s = record.last_byte_at - record.first_byte_at
        if record.events > 1 and elapsed_s > 0.0:
            self.per_token.observe(elapsed_s / (record.events - 1))


class Ledger:
    """See the module. `log_request` writes the line of a request, where there is a log."""

    def __init__(self, log_request: LogRequest | None = None) -> None:
        self._outcomes: defaultdict[tuple[str, str, Outcome], int] = defaultdict(int)
        self._models: defaultdict[str, ModelCounts] = defaultdict(ModelCounts)
        self._retries: defaultdict[tuple[str, Phase], int] = defaultdict(int)
        self._log_request = log_request

    # ---- during requests

    def close(self, exchange: Exchange, record: Record, outcome: Outcome) -> None:
        """Count the request, which has ended, and write its log line. Nothing else counts requests."""
        model = record.model_name
        self._outcomes[model, record.route_name, outcome] += 1
        duration_s = monotonic() - exchange.started_at
        if record.first_byte_at:
            counts = self._models[model]
            counts.request_bytes += exchange.length
            counts.response_bytes += record.answer_bytes
            counts.first_byte.observe(record.first_byte_at - exchange.started_at)
            counts.duration.observe(duration_s)
            if not record.is_batch:
                counts.count_tokens(record)
            if record.events:
                counts.count_stream(record)
        if self._log_request is not None:
            self._log_request(exchange, record, outcome, duration_s)

    def close_entry(self, entry: Record) -> None:
        """One entry of a batch has ended: its tokens count for its own model."""
        if entry.prompt_tokens >= 0:
            self._models[entry.model_name].count_tokens(entry)

    def count_retry(self, model: str, phase: Phase) -> None:
        self._retries[model, phase] += 1

    def count_retry_denied(self, model: str) -> None:
        self._models[model].retries_denied += 1

    def count_malformed(self, outcome: Outcome) -> None:
        """Bytes that never became a request."""
        self._outcomes[UNKNOWN, UNKNOWN, outcome] += 1

    def outcomes(self) -> dict[tuple[str, str, Outcome], int]:
        """(model, route, outcome) → how many, so far."""
        return dict(self._outcomes)

    # ---- at a scrape

    def read_figures(self) -> Series:
        """Everything counted so far."""
        values: Series = defaultdict(dict)
        for (model, route, outcome), count in self._outcomes.items():
            values[metrics.REQUESTS][model, route, outcome.value] = count
        for model, counts in self._models.items():
            _put_model(values, (model,), counts)
        for (model, phase), count in self._retries.items():
            values[metrics.RETRIES][model, phase.name.lower()] = count
        return values


def _put_model(values: Series, labels: Labels, counts: ModelCounts) -> None:
    values[metrics.TIME_TO_FIRST_BYTE][labels] = counts.first_byte
    values[metrics.REQUEST_DURATION][labels] = counts.duration
    values[metrics.TIME_PER_TOKEN][labels] = counts.per_token
    values[metrics.PROMPT_TOKENS][labels] = counts.prompt_tokens
    values[metrics.GENERATED_TOKENS][labels] = counts.generated_tokens
    values[metrics.STREAM_EVENTS][labels] = counts.events
    values[metrics.REQUEST_BYTES][labels] = counts.request_bytes
    values[metrics.RESPONSE_BYTES][labels] = counts.response_bytes
    values[metrics.RETRIES_DENIED][labels] = counts.retries_denied
