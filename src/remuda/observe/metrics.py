"""The declaration of every metric that Remuda exposes: name, kind, unit, labels and help.

Names follow prometheus.io/docs/practices/naming: base units in the name, `_total` for counters, `_info` for facts.
Every label is bounded, and LABELS states the bound. An unknown model is counted as `unknown`, never under the name that
a client sent. The page docs/reference/metrics.md is rendered from these declarations. This module does not know who
counts: a counting process keeps dicts and `HistogramCounts` and passes them on as a Snapshot.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram", "info"]
Source = Literal["gateway", "fleet", "process"]

UNKNOWN = "unknown"
"""Label value of a request whose model or route is not served."""


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric. `unit` is the part of `name` that states the unit; `source` is the process that counts."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    source: Source = "gateway"
    buckets: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """The name without the suffix of its kind, as OpenMetrics writes it in TYPE lines."""
        suffix = {"counter": "_total", "info": "_info"}.get(self.kind, "")
        return self.name.removesuffix(suffix)


class HistogramCounts:
    """The counts of one histogram series. `observe` costs one bisection."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Counts per bucket, not cumulated. The last one counts values above the last bound."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


Labels = tuple[str, ...]
"""Label values, in the order of `Metric.labels`."""

Snapshot = Mapping[Metric, Mapping[Labels, float | HistogramCounts]]
"""All values of one moment. An `info` metric has the value 1."""

LABELS: Mapping[str, str] = {
    "model": "Name of the model in its file; `unknown` for a name that is not served, `several` for a mixed batch.",
    "route": "Name of the route (`chat`, `completions`, `embeddings`, …); `unknown` outside the allow-list.",
    "outcome": "How the request ended: one of the outcomes in the errors reference.",
    "endpoint": "The engine's id (`qwen-0`); never its address.",
    "phase": "Phase in which the attempt failed: `connect` or `sent`.",
    "state": "There is one series per state: 1 for the current state and 0 for the others.",
    "reason": "The reason, from a fixed list.",
    "replica": "The engine's number within its model, from 0.",
    "version": "Version of Remuda, or of vLLM for an engine.",
    "python": "Version of Python.",
}
"""The meaning and the bound of each label."""

FIRST_BYTE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds. A cached answer on a GPU takes milliseconds and a long prompt on a CPU a minute. Objectives for the
first token usually lie between 0.25 and 2.5 s."""

DURATION_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds. 10 s is one of them, because it is the default latency target of the autoscaler."""

PER_TOKEN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0)
"""Upper bounds. People read about 5 tokens per second and notice more than 0.1 s per token."""

# --- requests -----------------------------------------------------------------------------------------------------

REQUESTS = Metric(
    "remuda_requests_total",
    "counter",
    "Requests that ended. Each is counted once, under its one outcome.",
    ("model", "route", "outcome"),
)
REQUESTS_IN_FLIGHT = Metric(
    "remuda_requests_in_flight",
    "gauge",
    "Accepted requests that have not ended, including those that wait.",
    ("model",),
)
TIME_TO_FIRST_BYTE = Metric(
    "remuda_time_to_first_byte_seconds",
    "histogram",
    "From the first byte of a request to the first byte of the engine's answer, retries included.",
    ("model",),
    "seconds",
    buckets=FIRST_BYTE_BUCKETS_S,
)
REQUEST_DURATION = Metric(
    "remuda_request_duration_seconds",
    "histogram",
    "From the first byte of a request to the last byte of its answer.",
    ("model",),
    "seconds",
    buckets=DURATION_BUCKETS_S,
)
TIME_PER_TOKEN = Metric(
    "remuda_time_per_output_token_seconds",
    "histogram",
    "Mean time between the events of one streamed answer: (last event - first event) / (events - 1). There is one "
    "observation per stream.",
    ("model",),
    "seconds",
    buckets=PER_TOKEN_BUCKETS_S,
)
PROMPT_TOKENS = Metric(
    "remuda_prompt_tokens_total",
    "counter",
    "Prompt tokens, as stated in the `usage` of engines' answers.",
    ("model",),
    "tokens",
)
GENERATED_TOKENS = Metric(
    "remuda_generated_tokens_total",
    "counter",
    "Generated tokens, as stated in the `usage` of engines' answers.",
    ("model",),
    "tokens",
)
STREAM_EVENTS = Metric("remuda_stream_events_total", "counter", "Server-sent events relayed.", ("model",))
REQUEST_BYTES = Metric("remuda_request_bytes_total", "counter", "Bytes of request bodies.", ("model",), "bytes")
RESPONSE_BYTES = Metric(
    "remuda_response_bytes_total", "counter", "Bytes of response bodies relayed from engines.", ("model",), "bytes"
)
RETRIES = Metric(
    "remuda_retries_total",
    "counter",
    "Attempts that were repeated on another engine, by the phase in which the first one failed.",
    ("model", "phase"),
)
RETRIES_DENIED = Metric(
    "remuda_retries_denied_total",
    "counter",
    "Retries that the phase allowed but the retry budget did not.",
    ("model",),
)
AUTHENTICATION_FAILURES = Metric(
    "remuda_authentication_failures_total",
    "counter",
    "Requests that were refused because their API key was missing, malformed, unknown, expired or disabled.",
    ("reason",),
)

# --- endpoints ----------------------------------------------------------------------------------------------------

ENDPOINT_STATE = Metric(
    "remuda_endpoint_state",
    "gauge",
    "Health of an engine as this gateway sees it: healthy, suspect, probing, ejected, or draining.",
    ("model", "endpoint", "state"),
)
ENDPOINT_EJECTIONS = Metric(
    "remuda_endpoint_ejections_total",
    "counter",
    "Number of times that an engine was ejected because of its failures.",
    ("model", "endpoint"),
)
ENDPOINT_REQUESTS_IN_FLIGHT = Metric(
    "remuda_endpoint_requests_in_flight",
    "gauge",
    "Requests that this gateway has sent to an engine and that have not ended.",
    ("model", "endpoint"),
)
ENDPOINT_WAITING_TOKENS = Metric(
    "remuda_endpoint_waiting_tokens",
    "gauge",
    "Estimated prompt tokens of requests that were sent to an engine and whose answers have not begun.",
    ("model", "endpoint"),
    "tokens",
)
ENDPOINT_SPEED = Metric(
    "remuda_endpoint_prefill_tokens_per_second",
    "gauge",
    "Measured prefill speed in estimated prompt tokens, by which the gateway chooses an engine; 0 before the first "
    "measurement.",
    ("model", "endpoint"),
    "tokens_per_second",
)
ENDPOINT_CONNECTIONS = Metric(
    "remuda_endpoint_connections", "gauge", "Open connections to an engine, idle ones included.", ("model", "endpoint")
)
MODEL_READY = Metric(
    "remuda_model_ready",
    "gauge",
    "1 while at least one engine of the model can take requests, otherwise 0.",
    ("model",),
)

# --- the gateway process ------------------------------------------------------------------------------------------

CLIENT_CONNECTIONS = Metric("remuda_client_connections", "gauge", "Open client connections, idle ones included.")
CLIENT_CONNECTIONS_OPENED = Metric(
    "remuda_client_connections_opened_total", "counter", "Client connections accepted since the start."
)
CLIENT_CONNECTIONS_REFUSED = Metric(
    "remuda_client_connections_refused_total",
    "counter",
    "Client connections that were closed at once because the limit of connections was reached.",
)
LOG_LINES_DROPPED = Metric(
    "remuda_log_lines_dropped_total",
    "counter",
    "Lines of the log that were dropped because nobody took them in time; serving never waits for a reader.",
)
TABLE_GENERATION = Metric(
    "remuda_table_generation",
    "gauge",
    "Number of the table of models, engines and keys in use. It grows by one with each change.",
)
BUILD = Metric("remuda_build_info", "info", "Version of the gateway. The value is always 1.", ("version", "python"))

# --- engines, as the fleet sees them ------------------------------------------------------------------------------

_REPLICA = ("model", "replica")

ENGINE_STATE = Metric(
    "remuda_engine_state", "gauge", "State of an engine's process.", ("model", "replica", "state"), source="fleet"
)
ENGINE_INFO = Metric(
    "remuda_engine_info",
    "info",
    "Version of vLLM in an engine. The value is always 1.",
    ("model", "replica", "version"),
    source="fleet",
)
ENGINE_RESTARTS = Metric(
    "remuda_engine_restarts_total", "counter", "Number of times that an engine was restarted.", _REPLICA, source="fleet"
)
ENGINE_RUNNING = Metric(
    "remuda_engine_requests_running",
    "gauge",
    "Requests in the engine's current batch.",
    _REPLICA,
    source="fleet",
)
ENGINE_WAITING = Metric(
    "remuda_engine_requests_waiting", "gauge", "Requests waiting inside the engine.", _REPLICA, source="fleet"
)
ENGINE_KV_USAGE = Metric(
    "remuda_engine_kv_cache_usage_ratio",
    "gauge",
    "Share of the KV cache in use, 0 to 1 (the fullest rank).",
    _REPLICA,
    "ratio",
    "fleet",
)
ENGINE_KV_TOKENS = Metric(
    "remuda_engine_kv_cache_tokens", "gauge", "Size of the KV cache.", _REPLICA, "tokens", "fleet"
)
ENGINE_PROMPT_TOKENS = Metric(
    "remuda_engine_prompt_tokens_total", "counter", "Prompt tokens the engine took.", _REPLICA, "tokens", "fleet"
)
ENGINE_GENERATED_TOKENS = Metric(
    "remuda_engine_generated_tokens_total", "counter", "Tokens the engine generated.", _REPLICA, "tokens", "fleet"
)
ENGINE_PREEMPTIONS = Metric(
    "remuda_engine_preemptions_total",
    "counter",
    "Requests that were removed from the batch because the KV cache was full, and that are computed again.",
    _REPLICA,
    source="fleet",
)
ENGINE_PREFIX_QUERIES = Metric(
    "remuda_engine_prefix_cache_queries_tokens_total",
    "counter",
    "Prompt tokens that were looked up in the prefix cache.",
    _REPLICA,
    "tokens",
    "fleet",
)
ENGINE_PREFIX_HITS = Metric(
    "remuda_engine_prefix_cache_hits_tokens_total",
    "counter",
    "Prompt tokens that were found in the prefix cache.",
    _REPLICA,
    "tokens",
    "fleet",
)
ENGINE_REQUESTS_DONE = Metric(
    "remuda_engine_requests_done_total", "counter", "Requests the engine finished.", _REPLICA, source="fleet"
)

# --- any process (names and meaning as every Prometheus client exposes them) ---------------------------------------

PROCESS_CPU = Metric(
    "process_cpu_seconds_total", "counter", "User and system processor time.", unit="seconds", source="process"
)
PROCESS_RESIDENT = Metric("process_resident_memory_bytes", "gauge", "Resident memory.", unit="bytes", source="process")
PROCESS_VIRTUAL = Metric("process_virtual_memory_bytes", "gauge", "Virtual memory.", unit="bytes", source="process")
PROCESS_START = Metric(
    "process_start_time_seconds", "gauge", "Start of the process, in Unix time.", unit="seconds", source="process"
)
PROCESS_OPEN_FDS = Metric("process_open_fds", "gauge", "Open file descriptors.", source="process")
PROCESS_MAX_FDS = Metric(
    "process_max_fds", "gauge", "Most file descriptors that the process may open.", source="process"
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All metrics, in the order of their declarations."""
