"""Looks at a ready engine again and again, until policy says it is hung.

Takes samples (counters from /metrics, processor time of the core from /proc) and sends one-token probes to an idle
engine; `policy.hung` decides. Does not end anything. Called by `supervise`.
"""

import asyncio
from dataclasses import dataclass, field

from remuda.engine.diagnosis.probe import NotAnsweredError, Probe
from remuda.engine.process import EngineProcess
from remuda.policy.hung import Hung, HungLimits, Sample, decide_hung, keep_samples


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How closely an engine is watched."""

    sample_s: float = 2.0
    """Between two looks: a scrape costs the engine 4 ms, so 0.2 % of one core."""
    probe_every_s: float = 15.0
    """Between two probes of an idle engine; each costs one forward pass."""
    probe_timeout_s: float = 5.0
    """An idle engine answers in milliseconds to a second; later = not answered (the probe itself goes on)."""
    limits: HungLimits = field(default_factory=HungLimits)


class Watch:
    """One engine under observation, from ready to hung."""

    def __init__(self, probe: Probe, process: EngineProcess, model: str, settings: WatchSettings) -> None:
        self._probe = probe
        self._process = process
        self._model = model
        self._settings = settings
        self._samples: list[Sample] = []
        self._asked_at_s = 0.0
        self._question: asyncio.Task[bool] | None = None

    async def until_hung(self) -> Hung:
        """Sample until hung. Cancel it to stop watching."""
        clock = asyncio.get_running_loop()
        self._asked_at_s = clock.time()
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

    async def _sample(self, now_s: float) -> Sample:
        metrics = await self._probe.ask_metrics()
        probe_ok = self._collect(now_s)
        if metrics is None:
            return Sample(now_s, 0, 0, 0, self._process.core_cpu_s(), probe_ok, answered=False)
        idle = not metrics.running and not metrics.waiting
        if idle and self._question is None and now_s - self._asked_at_s >= self._settings.probe_every_s:
            self._asked_at_s = now_s
            self._question = asyncio.create_task(self._ask(), name="liveness probe")
        tokens = metrics.prompt_tokens + metrics.generated_tokens
        return Sample(now_s, metrics.running, metrics.waiting, tokens, self._process.core_cpu_s(), probe_ok)

    def _collect(self, now_s: float) -> bool | None:
        """The newest probe: answered since the last look, not answered, or none under way."""
        if self._question is None:
            return None
        if self._question.done():
            answered = not self._question.cancelled() and self._question.exception() is None and self._question.result()
            self._question = None
            return answered
        return False if now_s - self._asked_at_s >= self._settings.probe_timeout_s else None

    async def _ask(self) -> bool:
        """Waited for as long as a hang may last, so that an abandoned probe is never left running in the engine."""
        try:
            await self._probe.ask_token(self._model, self._settings.limits.longest_step_s)
        except NotAnsweredError:
            return False
        return True
