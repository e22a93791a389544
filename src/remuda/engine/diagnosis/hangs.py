"""Samples a ready engine again and again until it counts as hung.

A sample has the counters of /metrics and the CPU time of the core. An idle engine is also asked for one token.
`policy.hung` decides what the samples mean. The module ends no process.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from remuda.engine.diagnosis.probe import NotAnsweredError, Probe
from remuda.policy.hung import Hung, HungLimits, Sample, decide_hung, keep_samples


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How closely an engine is watched."""

    sample_s: float = 2.0
    """Between two samples: a scrape costs the engine 4 ms, so 0.2 % of one core."""
    probe_every_s: float = 15.0
    """Between two one-token requests to an idle engine; each costs one forward pass."""
    probe_timeout_s: float = 5.0
    """An idle engine answers within a second. After this time a request counts as not answered, but goes on."""
    limits: HungLimits = field(default_factory=HungLimits)


class HangWatch:
    """Watches one engine, from ready to hung. `measure_core_cpu_s` gives the CPU time of its core and workers."""

    def __init__(
        self, probe: Probe, model: str, measure_core_cpu_s: Callable[[], float], settings: WatchSettings
    ) -> None:
        self._probe = probe
        self._model = model
        self._measure_core_cpu_s = measure_core_cpu_s
        self._settings = settings
        self._samples: list[Sample] = []
        self._asked_at = 0.0
        self._question: asyncio.Task[bool] | None = None

    async def until_hung(self) -> Hung:
        """Return when the engine is hung. Cancel the call to stop watching."""
        clock = asyncio.get_running_loop()
        self._asked_at = clock.time()
        try:
            while True:
                await asyncio.sleep(self._settings.sample_s)
                self._samples.append(await self._sample(clock.time()))
                hung = decide_hung(self._samples, self._settings.limits)
                if hung is not None:
                    return hung
                self._samples = list(keep_samples(self._samples))
        finally:
            if self._question is not None:
                self._question.cancel()

    async def _sample(self, now_at: float) -> Sample:
        metrics = await self._probe.fetch_metrics()
        probe_ok = self._collect_answer(now_at)
        cpu_s = self._measure_core_cpu_s()
        if metrics is None:
            return Sample(now_at, 0, 0, 0, cpu_s, probe_ok, answered=False)
        is_idle = not metrics.running and not metrics.waiting
        if is_idle and self._question is None and now_at - self._asked_at >= self._settings.probe_every_s:
            self._asked_at = now_at
            self._question = asyncio.create_task(self._ask_token(), name="one-token request")
        tokens = metrics.prompt_tokens + metrics.generated_tokens
        return Sample(now_at, metrics.running, metrics.waiting, tokens, cpu_s, probe_ok)

    def _collect_answer(self, now_at: float) -> bool | None:
        """The newest one-token request: answered since the last sample, not answered, or none under way."""
        if self._question is None:
            return None
        if self._question.done():
            answered = not self._question.cancelled() and self._question.exception() is None and self._question.result()
            self._question = None
            return answered
        return False if now_at - self._asked_at >= self._settings.probe_timeout_s else None

    async def _ask_token(self) -> bool:
        """Wait as long as a hang may last, so that no abandoned request keeps running in the engine."""
        try:
            await self._probe.ask_token(self._model, self._settings.limits.longest_step_s)
        except NotAnsweredError:
            return False
        return True
