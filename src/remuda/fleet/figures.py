"""What the gateway's /metrics says of the engines: their states, and what each counts itself.

Engines are read at an interval, and not when somebody asks the gateway for its page: so the page is made of what is in
memory, and waits neither for an engine that hangs nor for this process. A look costs an engine 4 ms (a thousandth of a
core), however many read the page, and `status` gains from it: a speed is the difference of two looks.

Knows how engines are asked (`scrape`) and which metrics there are; not how the figures travel. Called by `supervisor`.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from remuda.engine.status import EngineState, EngineStatus
from remuda.observe import metrics
from remuda.observe.figures import Figures, Series, pack_figures
from remuda.observe.metrics import Labels, Metric
from remuda.vllm.metrics import EngineMetrics

_log = logging.getLogger("remuda.fleet")

LOOK_S = 5.0
"""Prometheus asks every 15 s as a rule, so it never sees the same figures twice."""
KEPT_LOOKS = 3
"""An engine that does not answer keeps its last figures for so many looks; then they are history."""
ANSWERING = frozenset({EngineState.READY, EngineState.DRAINING})

Fetch = Callable[[str, str], Awaitable[EngineMetrics | None]]
"""(engine's id, its URL) → what its /metrics says; None when it does not answer."""


@dataclass(frozen=True, slots=True)
class _Sight:
    """The last time an engine answered, and how many looks ago that was."""

    metrics: EngineMetrics
    looks: int = 0


class Lookout:
    """Looks at all engines at once, and remembers what each said last."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._sights: dict[tuple[str, int | None], _Sight] = {}

    async def look(self, statuses: Collection[EngineStatus]) -> Figures:
        """Everything there is to say of these engines now."""
        asked = [status for status in statuses if status.state in ANSWERING]
        found = await asyncio.gather(*(self._fetch(s.id, f"http://{s.host}:{s.port}") for s in asked))
        # By process too: what the one before it counted says nothing about this one.
        keys = [(status.id, status.pid) for status in asked]
        sights = {key: self._update(key, seen) for key, seen in zip(keys, found, strict=True)}
        self._sights = {key: sight for key, sight in sights.items() if sight is not None}
        known = {name: sight.metrics for (name, _), sight in self._sights.items()}
        return pack_figures(describe_engines(statuses, known), KEPT_LOOKS * LOOK_S)

    def _update(self, key: tuple[str, int | None], seen: EngineMetrics | None) -> _Sight | None:
        if seen is not None:
            return _Sight(seen)
        last = self._sights.get(key)
        return None if last is None or last.looks + 1 >= KEPT_LOOKS else _Sight(last.metrics, last.looks + 1)


async def keep_telling(
    fetch: Fetch,
    list_engines: Callable[[], Collection[EngineStatus]],
    tell: Callable[[Figures], None],
    look_s: float = LOOK_S,
) -> None:
    """Look and tell, until cancelled."""
    lookout = Lookout(fetch)
    while True:
        try:
            tell(await lookout.look(tuple(list_engines())))
        except Exception:  # noqa: BLE001 - reason: what a page shows must not end a fleet that serves
            _log.exception("the engines' figures could not be told")
        await asyncio.sleep(look_s)


def describe_engines(statuses: Collection[EngineStatus], known: Mapping[str, EngineMetrics]) -> Series:
    """The metrics of these engines; `known` is what they said themselves, by their ids."""
    values: dict[Metric, dict[Labels, float]] = defaultdict(dict)
    for status in statuses:
        labels = (status.model, status.id.rpartition("-")[2])
        for state in EngineState:
            values[metrics.ENGINE_STATE][*labels, state.value] = int(state is status.state)
        values[metrics.ENGINE_RESTARTS][labels] = status.restarts
        if status.version:
            values[metrics.ENGINE_INFO][*labels, status.version] = 1
        if status.id in known:
            for metric, value in _figures_of(known[status.id]).items():
                values[metric][labels] = value
    return values


def _figures_of(seen: EngineMetrics) -> dict[Metric, float]:
    figures: dict[Metric, float] = {
        metrics.ENGINE_RUNNING: seen.running,
        metrics.ENGINE_WAITING: seen.waiting,
        metrics.ENGINE_KV_USAGE: seen.kv_usage,
        metrics.ENGINE_PROMPT_TOKENS: seen.prompt_tokens,
        metrics.ENGINE_GENERATED_TOKENS: seen.generated_tokens,
        metrics.ENGINE_PREEMPTIONS: seen.preemptions,
        metrics.ENGINE_PREFIX_QUERIES: seen.prefix_queries,
        metrics.ENGINE_PREFIX_HITS: seen.prefix_hits,
        metrics.ENGINE_REQUESTS_DONE: seen.requests_done,
    }
    if seen.kv_tokens is not None:
        figures[metrics.ENGINE_KV_TOKENS] = seen.kv_tokens
    return figures
