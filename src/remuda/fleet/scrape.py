"""Read the figures that engines and the gateway publish on /metrics: for `status`, and for the gateway's own page.

Does not decide when: `figures` looks at an interval, `supervisor` when somebody asks. Speed is the difference of two
looks at the token counter; where there was none of late, it takes two.
"""

import asyncio
import re
import ssl
import time
from dataclasses import dataclass

import httpx

from remuda.observe.metrics import REQUESTS
from remuda.vllm.metrics import EngineMetrics, parse_metrics

TIMEOUT_S = 2.0
SHORTEST_GAP_S = 0.25  # below this a speed is mostly noise
OLDEST_S = 15.0  # a speed over a longer time says little about now
_REQUESTS = re.compile(rf"^{REQUESTS.name}\{{(?P<labels>[^}}]*)\}} (?P<value>\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_PAGES = {"health", "ready", "metrics", "models", "options"}  # the gateway's own pages: questions, not work


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """What one engine says of itself, and how fast it generates."""

    metrics: EngineMetrics
    tokens_per_s: float


class Scraper:
    """Remembers the last look at each engine, so that a speed can be told."""

    def __init__(self) -> None:
        # Certificates unchecked: our own gateway's names the host that clients use, not the loopback we ask it on.
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=_no_checks())
        self._last: dict[str, tuple[float, int]] = {}

    async def close(self) -> None:
        """Drop the connections."""
        await self._client.aclose()

    async def look(self, engine_id: str, url: str) -> EngineMetrics | None:
        """What the engine at `url` counts; None when it does not answer."""
        text = await self._fetch(url)
        if text is None:
            return None
        metrics = parse_metrics(text)
        self._last[engine_id] = (time.monotonic(), metrics.generated_tokens)
        return metrics

    async def fetch_engine(self, engine_id: str, url: str) -> EngineFigures | None:
        """The same, with the speed at which it generates."""
        if not self._is_fresh(engine_id):
            if await self.look(engine_id, url) is None:
                return None
            await asyncio.sleep(SHORTEST_GAP_S)
        before_s, before_tokens = self._last[engine_id]
        metrics = await self.look(engine_id, url)
        if metrics is None:
            return None
        now_s, now_tokens = self._last[engine_id]
        speed = max(0.0, (now_tokens - before_tokens) / max(now_s - before_s, 1e-3))
        return EngineFigures(metrics, round(speed, 1))

    async def fetch_load(self, url: str) -> int | None:
        """Requests the engine at `url` has aboard; None when it does not answer."""
        text = await self._fetch(url)
        return None if text is None else (found := parse_metrics(text)).running + found.waiting

    async def fetch_outcomes(self, url: str) -> dict[str, int] | None:
        """The gateway's requests by outcome; None when it does not answer."""
        text = await self._fetch(url)
        return None if text is None else count_outcomes(text)

    def _is_fresh(self, engine_id: str) -> bool:
        age_s = time.monotonic() - self._last.get(engine_id, (float("-inf"), 0))[0]
        return SHORTEST_GAP_S <= age_s <= OLDEST_S

    async def _fetch(self, url: str) -> str | None:
        try:
            response = await self._client.get(f"{url}/metrics")
        except httpx.HTTPError:
            return None
        return response.text if response.status_code == httpx.codes.OK else None


def _no_checks() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def count_outcomes(text: str) -> dict[str, int]:
    """Requests by outcome from the gateway's exposition, its own pages left out."""
    counts: dict[str, int] = {}
    for match in _REQUESTS.finditer(text):
        labels = dict(_LABEL.findall(match["labels"]))
        if labels.get("route") not in _PAGES:
            outcome = labels.get("outcome", "unknown")
            counts[outcome] = counts.get(outcome, 0) + int(float(match["value"]))
    return counts
