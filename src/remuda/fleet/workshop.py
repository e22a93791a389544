"""Make engines out of models: installation, weights, plan, supervised process. The real `supervisor.Workshop`.

Every installation is made once, however many models need it; everything slow runs in a child process, never in the
event loop. Called by `app`.
"""

import asyncio
from collections.abc import Callable

from remuda import spec
from remuda.engine.install import worker
from remuda.engine.install.build import Progress
from remuda.engine.install.installation import Installation
from remuda.engine.install.installer import find_installation
from remuda.engine.install.inventory import describe_unused, list_environments
from remuda.engine.install.variants import has_nvidia_gpu
from remuda.engine.plan import plan_engine, wants_gpu
from remuda.engine.status import EngineStatus
from remuda.engine.supervisor import EngineSupervisor
from remuda.engine.weights import fetch_weights
from remuda.fleet import events
from remuda.machine.home import Home

Observer = Callable[[EngineStatus], None]


class EngineWorkshop:
    """Engines of this machine."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._installing: dict[tuple[str, str | None], asyncio.Lock] = {}
        self._installed: dict[str, Installation] = {}
        self._told: set[str] = set()

    async def prepare(self, model: spec.Model, emit: events.Emit) -> None:
        """Install the model's vLLM if it is missing, have its weights here, tell what was decided on the way."""
        installation = await self._install(model, emit)
        self._installed[model.name] = installation
        step = StepReporter(f"weights/{model.name}", f"weights of {model.name}", emit)
        await fetch_weights(model, installation, self._home, step.report)
        step.finish()
        for note in plan_engine(model, 0, 0, installation, self._home).notes:
            self._tell_once(f"{model.name}: {note}", emit)

    def build(self, model: spec.Model, replica: int, port: int, observer: Observer) -> EngineSupervisor:
        """One replica, not yet started."""
        return EngineSupervisor(plan_engine(model, replica, port, self._installed[model.name], self._home), observer)

    async def _install(self, model: spec.Model, emit: events.Emit) -> Installation:
        version = model.spec.engine.version
        variant = pick_variant(model, has_gpu=await asyncio.to_thread(has_nvidia_gpu))
        async with self._installing.setdefault((version, variant), asyncio.Lock()):
            found = await asyncio.to_thread(find_installation, self._home, version, variant)
            step = StepReporter(f"engine/{version}/{variant}", f"vLLM {version}", emit)
            if found is None:
                found = await worker.install(self._home, version, variant, step.report)
                step.finish(f"installed ({found.variant}, {found.size_bytes / 1e9:.1f} GB)")
                if unused := describe_unused(await asyncio.to_thread(list_environments, self._home)):
                    self._tell_once(unused, emit)
            self._tell_once(f"vLLM {found.version} ({found.variant}) in {found.path}", emit)
            return found

    def _tell_once(self, text: str, emit: events.Emit) -> None:
        if text not in self._told:
            self._told.add(text)
            emit(events.Note(text=text))


def pick_variant(model: spec.Model, *, has_gpu: bool) -> str | None:
    """The build of vLLM that the file asks for; None = whatever suits the machine."""
    wanted = wants_gpu(model)
    if wanted:
        return "cuda"
    return "cpu" if wanted is False and has_gpu else None


class StepReporter:
    """Progress in bytes as one step of the fleet's."""

    def __init__(self, step_id: str, title: str, emit: events.Emit) -> None:
        self._id = step_id
        self._title = title
        self._emit = emit
        self._used = False

    def report(self, progress: Progress) -> None:
        """One look at the work."""
        self._used = True
        done, total = progress.done_bytes, progress.total_bytes
        self._emit(
            events.Step(
                id=self._id,
                title=self._title,
                state=events.StepState.RUNNING,
                detail=describe_progress(progress),
                fraction=min(1.0, done / total) if done is not None and total else None,
            )
        )

    def finish(self, detail: str = "here") -> None:
        """Say that it is done, if it was ever begun."""
        if self._used:
            self._emit(events.Step(id=self._id, title=self._title, state=events.StepState.DONE, detail=detail))


def describe_progress(progress: Progress) -> str:
    """Stage, what is worked on, and how much of it: "downloading torch, 0.4 of 1.9 GB"."""
    text = f"{progress.stage} {progress.detail}".strip()
    if progress.done_bytes is None:
        return text
    done = f"{progress.done_bytes / 1e9:.1f}"
    return f"{text}, {done} of {progress.total_bytes / 1e9:.1f} GB" if progress.total_bytes else f"{text}, {done} GB"
