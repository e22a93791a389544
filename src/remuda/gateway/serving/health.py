"""Active health checks: a GET to every engine now and then, on a connection of its own.

/health only says that the API process is there (vLLM answers 200 while its core hangs or drains), which is why a good
answer lifts suspicion and never forgives faults (`policy.health`), and why an engine's supervisor watches its work.
Does not know how engines are started. Ticked by `sweeper`.
"""

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from remuda.gateway.upstream.connection import AttemptFailed
from remuda.gateway.waiting import as_future
from remuda.policy import health as health_policy
from remuda.policy.health import Event
from remuda.policy.route import relax_s_per_token

if TYPE_CHECKING:
    from remuda.gateway.serving.directory import Directory
    from remuda.gateway.serving.live_engine import LiveEngine
    from remuda.gateway.settings import GatewaySettings


class HealthChecker:
    """Probes engines that are due, at most one probe at a time each."""

    def __init__(self, directory: "Directory", settings: "GatewaySettings") -> None:
        self._directory = directory
        self._settings = settings
        self._probed_s: dict[str, float] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def tick(self, now_s: float) -> None:
        """Start the probes that are due."""
        engines = self._directory.engines
        for engine_id in self._probed_s.keys() - engines.keys():
            del self._probed_s[engine_id]
        for engine_id, engine in engines.items():
            due = now_s - self._probed_s.get(engine_id, 0.0) >= self._settings.health_interval_s
            if engine_id in self._running or not (due or health_policy.wants_probe(engine.health, now_s)):
                continue
            self._probed_s[engine_id] = now_s
            self._directory.set_health(engine, health_policy.begin_probe(engine.health, now_s))
            task = asyncio.get_running_loop().create_task(self._probe(engine))
            self._running[engine_id] = task
            task.add_done_callback(partial(self._end, engine_id))
        self._relax_speeds(now_s)

    def _end(self, engine_id: str, task: asyncio.Task[None]) -> None:  # noqa: ARG002 - a done callback's shape
        self._running.pop(engine_id, None)

    def _relax_speeds(self, now_s: float) -> None:
        """An engine that was not measured for long drifts towards the others, so that one bad figure heals."""
        for model in self._directory.models:
            speeds = sorted(load.s_per_token for load in model.loads if load.s_per_token)
            if len(model.engines) < 2 or not speeds:
                continue
            middle = speeds[len(speeds) // 2]
            for engine in model.engines:
                unmeasured_s = now_s - engine.measured_at
                if unmeasured_s > 10.0:
                    engine.load.s_per_token = relax_s_per_token(engine.load.s_per_token, middle, unmeasured_s)
                    engine.measured_at = now_s

    async def _probe(self, engine: "LiveEngine") -> None:
        try:
            async with asyncio.timeout(self._settings.health_timeout_s):
                healthy = await self._ask(engine)
        except (TimeoutError, OSError, AttemptFailed):
            healthy = False
        if not engine.pool.closed:
            self._directory.see(engine, Event.PROBE_OK if healthy else Event.PROBE_FAILED)

    async def _ask(self, engine: "LiveEngine") -> bool:
        upstream = await engine.pool.open_connection()
        try:
            await as_future(upstream.send(engine.pool.render_probe(), b"", self._settings.health_timeout_s))
            return upstream.head.status < 400
        finally:
            upstream.release()
