"""Reads the metrics of engines and gateway over HTTP, and makes of them the engine metrics on the gateway's page.

`MetricsClient` asks one process. `EngineMetricsCollector` asks all engines at an interval, not when somebody asks the
gateway for its page. So the page is made from memory, and waits neither for a hung engine nor for this process. One
scrape costs an engine 4 ms. `status` profits too: a speed is the difference of two scrapes.

The module does not know how the figures travel to the gateway.
"""

import asyncio
import logging
import re
import ssl
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

import httpx

from remuda.engine.status import EngineState, EngineStatus
from remuda.observe import metrics
from remuda.observe.figures import Figures, Series, pack_figures
from remuda.observe.metrics import Labels, Metric
from remuda.vllm.metrics import EngineMetrics, parse_metrics

INTERVAL_S = 5.0
"""Prometheus usually scrapes every 15 s, so it never sees the same figures twice."""
KEPT_INTERVALS = 3
"""An engine that does not answer keeps its last figures for so many intervals; then they are dropped."""
TIMEOUT_S = 2.0
SHORTEST_GAP_S = 0.25
"""A speed over a shorter time is mostly noise."""
LONGEST_GAP_S = 15.0
"""Longest time between two scrapes from which a speed is computed. A longer mean does not describe the present."""
_ANSWERING = frozenset({EngineState.READY, EngineState.DRAINING})
_REQUESTS = re.compile(rf"^{metrics.REQUESTS.name}\{{(?P<labels>[^}}]*)\}} (?P<value>\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_PAGES = {"health", "ready", "metrics", "models", "options"}  # the gateway answers these routes itself

_log = logging.getLogger("remuda.fleet")

Fetch = Callable[[str, str], Awaitable[EngineMetrics | None]]
"""(engine's id, its URL) → what its /metrics says; None when it does not answer."""


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What one engine says about itself, and how fast it generates."""

    metrics: EngineMetrics
    tokens_per_s: float


class MetricsClient:
    """Asks engines and the gateway for /metrics; remembers each engine's last token count to compute speeds."""

    def __init__(self) -> None:
        # Certificates are not checked: the gateway's certificate names the host that clients use, not the loopback.
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=_unchecked_tls())
        self._last: dict[str, tuple[float, int]] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def fetch_metrics(self, engine_id: str, url: str) -> EngineMetrics | None:
        """The metrics of the engine at `url`; None when it does not answer."""
        text = await self._fetch(url)
        if text is None:
            return None
        found = parse_metrics(text)
        self._last[engine_id] = (time.monotonic(), found.generated_tokens)
        return found

    async def fetch_load(self, engine_id: str, url: str) -> EngineLoad | None:
        """The metrics with the present speed; without a recent scrape to compare with, this scrapes twice."""
        if not self._is_recent(engine_id):
            if await self.fetch_metrics(engine_id, url) is None:
                return None
            await asyncio.sleep(SHORTEST_GAP_S)
        before_at, before_tokens = self._last[engine_id]
        found = await self.fetch_metrics(engine_id, url)
        if found is None:
            return None
        now_at, now_tokens = self._last[engine_id]
        speed = max(0.0, (now_tokens - before_tokens) / max(now_at - before_at, 1e-3))
        return EngineLoad(found, round(speed, 1))

    async def count_requests(self, url: str) -> int | None:
        """Requests that run or wait in the engine at `url`; None when it does not answer."""
        text = await self._fetch(url)
        return None if text is None else (found := parse_metrics(text)).running + found.waiting

    async def fetch_outcomes(self, url: str) -> dict[str, int] | None:
        """The gateway's requests by outcome; None when it does not answer."""
        text = await self._fetch(url)
        return None if text is None else count_outcomes(text)

    def _is_recent(self, engine_id: str) -> bool:
        age_s = time.monotonic() - self._last.get(engine_id, (float("-inf"), 0))[0]
        return SHORTEST_GAP_S <= age_s <= LONGEST_GAP_S

    async def _fetch(self, url: str) -> str | None:
        try:
            response = await self._client.get(f"{url}/metrics")
        except httpx.HTTPError:
            return None
        return response.text if response.status_code == httpx.codes.OK else None


def _unchecked_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def count_outcomes(text: str) -> dict[str, int]:
    """Requests by outcome from the gateway's metrics, without the pages that it answers itself."""
    counts: dict[str, int] = {}
    for match in _REQUESTS.finditer(text):
        labels = dict(_LABEL.findall(match["labels"]))
        if labels.get("route") not in _PAGES:
            outcome = labels.get("outcome", "unknown")
            counts[outcome] = counts.get(outcome, 0) + int(float(match["value"]))
    return counts


@dataclass(frozen=True, slots=True)
class _LastAnswer:
    """What an engine said when it last answered, and how many intervals ago that was."""

    metrics: EngineMetrics
    intervals: int = 0


class EngineMetricsCollector:
    """Asks all engines at once, and keeps what each said last."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._answers: dict[tuple[str, int | None], _LastAnswer] = {}

    async def collect(self, statuses: Collection[EngineStatus]) -> Figures:
        """All metrics of these engines now."""
        asked = [status for status in statuses if status.state in _ANSWERING]
        found = await asyncio.gather(*(self._fetch(s.id, f"http://{s.host}:{s.port}") for s in asked))
        # The pid is part of the key: what an earlier process counted says nothing about this one.
        keys = [(status.id, status.pid) for status in asked]
        answers = {key: self._update(key, answer) for key, answer in zip(keys, found, strict=True)}
        self._answers = {key: answer for key, answer in answers.items() if answer is not None}
        known = {engine_id: answer.metrics for (engine_id, _), answer in self._answers.items()}
        return pack_figures(describe_engines(statuses, known), KEPT_INTERVALS * INTERVAL_S)

    def _update(self, key: tuple[str, int | None], answer: EngineMetrics | None) -> _LastAnswer | None:
        if answer is not None:
            return _LastAnswer(answer)
        last = self._answers.get(key)
        if last is None or last.intervals + 1 >= KEPT_INTERVALS:
            return None
        return _LastAnswer(last.metrics, last.intervals + 1)


async def publish_metrics(
    fetch: Fetch,
    list_engines: Callable[[], Collection[EngineStatus]],
    publish: Callable[[Figures], None],
    interval_s: float = INTERVAL_S,
) -> None:
    """Collect and publish at an interval, until cancelled."""
    collector = EngineMetricsCollector(fetch)
    while True:
        try:
            publish(await collector.collect(tuple(list_engines())))
        except Exception:  # noqa: BLE001 - reason: a fault in what a page shows must not end a fleet that serves
            _log.exception("the engines' metrics could not be published")
        await asyncio.sleep(interval_s)


def describe_engines(statuses: Collection[EngineStatus], known: Mapping[str, EngineMetrics]) -> Series:
    """The metrics of these engines; `known` is what they said themselves, by their ids."""
    values: dict[Metric, dict[Labels, float]] = defaultdict(dict)
    for status in statuses:
        labels = (status.model, str(status.replica))
        for state in EngineState:
            values[metrics.ENGINE_STATE][*labels, state.value] = int(state is status.state)
        values[metrics.ENGINE_RESTARTS][labels] = status.restarts
        if status.facts.version:
            values[metrics.ENGINE_INFO][*labels, status.facts.version] = 1
        if status.id in known:
            for metric, value in _describe_metrics(known[status.id]).items():
                values[metric][labels] = value
    return values


def _describe_metrics(found: EngineMetrics) -> dict[Metric, float]:
    values: dict[Metric, float] = {
        metrics.ENGINE_RUNNING: found.running,
        metrics.ENGINE_WAITING: found.waiting,
        metrics.ENGINE_KV_USAGE: found.kv_usage,
        metrics.ENGINE_PROMPT_TOKENS: found.prompt_tokens,
        metrics.ENGINE_GENERATED_TOKENS: found.generated_tokens,
        metrics.ENGINE_PREEMPTIONS: found.preemptions,
        metrics.ENGINE_PREFIX_QUERIES: found.prefix_queries,
        metrics.ENGINE_PREFIX_HITS: found.prefix_hits,
        metrics.ENGINE_REQUESTS_DONE: found.requests_done,
    }
    if found.kv_tokens is not None:
        values[metrics.ENGINE_KV_TOKENS] = found.kv_tokens
    return values
