"""Watches engines that nobody supervises (`endpoints:` of a model file), and takes hung ones out of the choice.

vLLM answers 200 on /health while its core hangs. So the work of an engine is looked at: its token counters, and a
one-token request while it is idle. `policy.hung` judges. A hung engine gets no requests until it works again; it cannot
be restarted from here. Servers that show no metrics of vLLM are not watched, because nothing is known about their work.
"""

import asyncio
import logging
from functools import partial
from time import monotonic
from typing import Final

import msgspec

from remuda.gateway.serving.collect import AnswerBroken, ask_engine
from remuda.gateway.serving.directory import Directory
from remuda.gateway.serving.live_engine import LiveEngine
from remuda.gateway.serving.live_model import LiveModel
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.upstream.taker import AttemptFailed
from remuda.policy.hung import HungLimits, Sample, decide_hung, keep_samples
from remuda.vllm.metrics import parse_metrics
from remuda.vllm.questions import token_question

_log = logging.getLogger("remuda.gateway")
_METRICS_TIMEOUT_S: Final = 5.0
"""A scrape takes 4 ms of an engine; after five seconds its API process itself is stuck."""
_VLLM: Final = b"\nvllm:"


class Watched:
    """What is known about the work of one engine."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.looked_at = self.asked_at = monotonic()
        self.look: asyncio.Task[None] | None = None
        self.question: asyncio.Task[bool] | None = None

    def cancel(self) -> None:
        for task in (self.look, self.question):
            if task is not None:
                task.cancel()


class HangWatch:
    """Looks at every unsupervised engine of a directory, now and then."""

    def __init__(self, directory: Directory, settings: GatewaySettings) -> None:
        self._directory = directory
        self._settings = settings
        self._limits = HungLimits(frozen_s=settings.hung_after_s, longest_step_s=settings.hung_after_s)
        self._watched: dict[LiveEngine, Watched] = {}

    def tick(self, now_at: float) -> None:
        """Begin the looks that are due."""
        current = {
            engine: model for model in self._directory.models for engine in model.engines if not engine.supervised
        }
        for engine in self._watched.keys() - current.keys():
            self._watched.pop(engine).cancel()
        for engine, model in current.items():
            watched = self._watched.setdefault(engine, Watched())
            if watched.look is None and now_at - watched.looked_at >= self._settings.hung_sample_s:
                watched.looked_at = now_at
                watched.look = asyncio.get_running_loop().create_task(self._look(engine, model, watched))
                watched.look.add_done_callback(partial(_end_look, watched))

    def close(self) -> None:
        """Stop looking."""
        for watched in self._watched.values():
            watched.cancel()
        self._watched.clear()

    async def _look(self, engine: LiveEngine, model: LiveModel, watched: Watched) -> None:
        """One sample, and what follows from it."""
        sample = await self._take_sample(engine, model, watched)
        if sample is None:
            watched.samples.clear()
            return
        watched.samples.append(sample)
        hung = decide_hung(watched.samples, self._limits)
        if hung is None:
            watched.samples = list(keep_samples(watched.samples))
        if hung is not None and not engine.hung:
            _log.warning("engine %s is %s; it gets no requests until it works again", engine.endpoint.id, hung)
            self._directory.set_hung(engine, hung=True)
        elif hung is None and engine.hung:
            _log.info("engine %s works again", engine.endpoint.id)
            self._directory.set_hung(engine, hung=False)

    async def _take_sample(self, engine: LiveEngine, model: LiveModel, watched: Watched) -> Sample | None:
        """The counters and the newest one-token request; None when this is no vLLM, or not reachable.

        An engine that refuses connections is not hung: health checks take care of it.
        """
        now_at = monotonic()
        probe_ok = _collect_question(watched, now_at, self._settings.hung_question_timeout_s)
        try:
            async with asyncio.timeout(_METRICS_TIMEOUT_S):
                status, page = await ask_engine(
                    engine.pool, engine.pool.render_get("/metrics"), b"", _METRICS_TIMEOUT_S
                )
        except TimeoutError:
            return Sample(now_at, 0, 0, 0, None, probe_ok, answered=False) if watched.samples else None
        except (OSError, AttemptFailed, AnswerBroken):
            return None
        if status != 200 or _VLLM not in page:
            return None
        metrics = parse_metrics(page.decode("utf-8", "replace"))
        idle = not metrics.running and not metrics.waiting
        if idle and watched.question is None and now_at - watched.asked_at >= self._settings.hung_question_every_s:
            watched.asked_at = now_at
            watched.question = asyncio.get_running_loop().create_task(self._ask(engine, model))
        tokens = metrics.prompt_tokens + metrics.generated_tokens
        return Sample(now_at, metrics.running, metrics.waiting, tokens, None, probe_ok)

    async def _ask(self, engine: LiveEngine, model: LiveModel) -> bool:
        """Whether the engine answers a one-token request. Waits as long as a hang may last."""
        question = token_question(model.route.capabilities)
        if question.body is None:
            return True  # speech models take sound, which is not made here: only their counters are watched
        name = engine.model_name or model.route.served_name
        body = msgspec.json.encode({"model": name, **question.body})
        head = engine.pool.render_question(question.path, len(body))
        try:
            await ask_engine(engine.pool, head, body, self._limits.longest_step_s)
        except (OSError, AttemptFailed, AnswerBroken):
            return False
        return True


def _end_look(watched: Watched, task: asyncio.Task[None]) -> None:
    watched.look = None
    if not task.cancelled() and task.exception() is not None:
        _log.error("watching an engine failed", exc_info=task.exception())


def _collect_question(watched: Watched, now_at: float, timeout_s: float) -> bool | None:
    """The newest one-token request: answered since the last look, not answered in time, or None when none is due."""
    question = watched.question
    if question is None:
        return None
    if question.done():
        watched.question = None
        return not question.cancelled() and question.exception() is None and question.result()
    return False if now_at - watched.asked_at >= timeout_s else None
