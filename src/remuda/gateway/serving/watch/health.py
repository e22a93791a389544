"""Active health checks: a GET to every engine now and then, on a connection of its own.

/health only says that the API process is there (vLLM answers 200 while its core hangs or drains), which is why a good
answer lifts suspicion and never forgives faults (`policy.health`), and why an engine's supervisor watches its work.
Does not know how engines are started.
"""

import asyncio
from functools import partial

from remuda.gateway.serving.collect import AnswerBroken, ask_engine
from remuda.gateway.serving.directory import Directory
from remuda.gateway.serving.live_engine import LiveEngine
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.upstream.taker import AttemptFailed
from remuda.policy.health import Event, begin_probe, wants_probe
from remuda.policy.route import relax_speeds


class HealthChecker:
    """Probes engines that are due, at most one probe at a time each."""

    def __init__(self, directory: Directory, settings: GatewaySettings) -> None:
        self._directory = directory
        self._settings = settings
        self._probed_at: dict[str, float] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def tick(self, now_at: float) -> None:
        """Start the probes that are due."""
        engines = self._directory.engines
        for engine_id in self._probed_at.keys() - engines.keys():
            del self._probed_at[engine_id]
        for engine_id, engine in engines.items():
            # The first probe of an engine is due one interval after it is first seen, whatever the clock says.
            due = now_at - self._probed_at.setdefault(engine_id, now_at) >= self._settings.health.interval_s
            if engine_id in self._running or engine.hung or not (due or wants_probe(engine.health, now_at)):
                continue
            self._probed_at[engine_id] = now_at
            self._directory.set_health(engine, begin_probe(engine.health, now_at))
            task = asyncio.get_running_loop().create_task(self._probe(engine))
            self._running[engine_id] = task
            task.add_done_callback(partial(self._end, engine_id))
        self._relax_speeds(now_at)

    def _end(self, engine_id: str, task: asyncio.Task[None]) -> None:  # noqa: ARG002 - a done callback's shape
        self._running.pop(engine_id, None)

    def _relax_speeds(self, now_at: float) -> None:
        """Let the speed of engines that were not measured for long drift towards the others'."""
        for model in self._directory.models:
            engines = model.engines
            unmeasured_s = [now_at - engine.measured_at for engine in engines]
            for index in relax_speeds([engine.load for engine in engines], unmeasured_s):
                engines[index].measured_at = now_at

    async def _probe(self, engine: LiveEngine) -> None:
        try:
            async with asyncio.timeout(self._settings.health.timeout_s):
                healthy = await self._ask(engine)
        except (TimeoutError, OSError, AttemptFailed, AnswerBroken):
            healthy = False
        if not engine.pool.closed:
            self._directory.see(engine, Event.PROBE_OK if healthy else Event.PROBE_FAILED)

    async def _ask(self, engine: LiveEngine) -> bool:
        pool = engine.pool
        status, _ = await ask_engine(pool, pool.render_get("/health"), b"", self._settings.health.timeout_s)
        return status < 400
