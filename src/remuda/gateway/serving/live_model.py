"""One model that is served right now: its description, its engines, and which of them may be picked.

Survives new tables, so that what belongs to a model (whose turn it is) is not lost when an engine comes or goes. It
decides nothing itself: `policy.route` picks, `policy.health` judges.
"""

from remuda.gateway.serving.live_engine import LiveEngine
from remuda.gateway.table import ModelRoute
from remuda.policy.health import State, choose_pool
from remuda.policy.route import PICKS


class LiveModel:
    """See the module. It is known by `route.name`."""

    def __init__(self, route: ModelRoute, engines: tuple[LiveEngine, ...]) -> None:
        self.turn = 0
        """Requests that were given an engine so far: engines that are equally good take turns."""
        self.change(route, engines)

    def change(self, route: ModelRoute, engines: tuple[LiveEngine, ...]) -> None:
        """Take over a new description of the same model."""
        self.route = route
        self.waiting = route.waiting
        """Why there is no engine yet, in words."""
        self.engines = engines
        self._pick = PICKS[route.routing]
        self.choose_candidates()

    def choose_candidates(self) -> None:
        """Find the engines that may be picked. Called when a health or the table has changed, never per request."""
        self.candidates = _most_trusted(_working([engine for engine in self.engines if not engine.draining]))
        self.loads = [engine.load for engine in self.candidates]

    def pick(self, prompt_tokens: int, tried: tuple[LiveEngine, ...]) -> LiveEngine | None:
        """The engine for this request, none that was tried before; None when there is none."""
        candidates, loads = self.candidates, self.loads
        if tried:
            candidates = self._untried(tried)
            loads = [engine.load for engine in candidates]
        if not candidates:
            return None
        self.turn += 1
        if len(candidates) == 1:
            return candidates[0]
        return candidates[self._pick(loads, prompt_tokens, self.turn, None)]

    def has_untried(self, tried: tuple[LiveEngine, ...]) -> bool:
        return bool(self._untried(tried))

    def _untried(self, tried: tuple[LiveEngine, ...]) -> list[LiveEngine]:
        """The most trusted of the engines that were not tried."""
        return _most_trusted(
            _working([engine for engine in self.engines if engine not in tried and not engine.draining])
        )

    @property
    def ready(self) -> bool:
        """Whether there is an engine that is not known to be down."""
        return any(
            not engine.draining and not engine.hung and engine.health.state is not State.EJECTED
            for engine in self.engines
        )

    @property
    def least_work_tokens(self) -> int | None:
        """Work of the least busy engine that may be picked; None when there is none."""
        return min((load.work_tokens for load in self.loads), default=None)

    def explain_wait(self) -> str:
        """Why the model has no engine, in words."""
        if self.waiting:
            return self.waiting
        if not self.engines:
            return "no engine has been started"
        if all(engine.draining for engine in self.engines):
            return "its engines are draining"
        return "its engines do not answer"


def _working(engines: list[LiveEngine]) -> list[LiveEngine]:
    """Those that do not hang; all when all do, because a wrong judgement must not turn into an outage."""
    return [engine for engine in engines if not engine.hung] or engines


def _most_trusted(engines: list[LiveEngine]) -> list[LiveEngine]:
    pool = choose_pool([engine.health for engine in engines])
    return [engines[index] for index in pool.indices]
