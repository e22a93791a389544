"""Make engines out of models: installation, weights, plan, supervised process. The real `supervisor.Workshop`.

Every installation is made once, however many models need it; the waiting happens in threads and children, never in
the event loop. Called by `app`.
"""

from collections.abc import Callable

from remuda import spec
from remuda.engine.home import Home
from remuda.engine.status import EngineStatus
from remuda.fleet import events
from remuda.fleet.supervisor import EngineHandle


class EngineWorkshop:
    """Engines of this machine."""

    def __init__(self, home: Home) -> None:
        self._home = home

    async def prepare(self, model: spec.Model, emit: events.Emit) -> None:
        """Install the model's vLLM if it is missing, and have its weights here."""
        raise NotImplementedError

    def build(
        self, model: spec.Model, replica: int, port: int, observer: Callable[[EngineStatus], None]
    ) -> EngineHandle:
        """One replica, not yet started."""
        raise NotImplementedError
