"""Makes engines out of models: installation, weights, plan, supervised process.

Each installation is made once, however many models need it. Slow work runs in a child process or a thread, never in the
event loop.
"""

import asyncio
from collections.abc import Callable

from remuda import spec
from remuda.engine.install import worker
from remuda.engine.install.installation import Installation
from remuda.engine.install.installer import find_installation
from remuda.engine.install.inventory import describe_unused, list_environments
from remuda.engine.plan import Place, plan_engine, wants_gpu
from remuda.engine.status import EngineStatus, Progress
from remuda.engine.supervisor import EngineSupervisor
from remuda.engine.weights import fetch_weights
from remuda.fleet.plan import FleetDevices
from remuda.fleet.reporting import events
from remuda.machine.cgroups import find_parent
from remuda.machine.home import Home

Observer = Callable[[EngineStatus], None]


class EngineFactory:
    """Makes the engines of this machine."""

    def __init__(self, home: Home, devices: FleetDevices) -> None:
        self._home = home
        self._devices = devices
        self._groups = find_parent()
        self._installing: dict[tuple[str, str | None], asyncio.Lock] = {}
        self._installed: dict[str, Installation] = {}
        self._noted: set[str] = set()

    async def prepare(self, model: spec.Model, emit: events.Emit) -> None:
        """Install the model's vLLM if it is missing, fetch its weights, and note what was decided on the way."""
        installation = await self._install(model, emit)
        self._installed[model.name] = installation
        step = StepReporter(f"weights/{model.name}", f"weights of {model.name}", emit)
        await fetch_weights(model, installation, self._home, step.report)
        step.finish()
        for note in plan_engine(model, Place(), installation, self._home).notes:
            self._note_once(f"{model.name}: {note}", emit)

    def build(self, model: spec.Model, replica: int, port: int, observer: Observer) -> EngineSupervisor:
        """One replica that is not started yet; its model must be prepared."""
        place = Place(replica, port, self._devices.plan.of(model.name, replica))
        plan = plan_engine(model, place, self._installed[model.name], self._home)
        if self._groups is None:
            return EngineSupervisor(plan, observer)
        return EngineSupervisor(plan, observer, make_group=self._groups.create)

    async def _install(self, model: spec.Model, emit: events.Emit) -> Installation:
        version = model.spec.engine.version
        variant = pick_variant(model, has_gpu=self._devices.has_gpu)
        async with self._installing.setdefault((version, variant), asyncio.Lock()):
            found = await asyncio.to_thread(find_installation, self._home, version, variant)
            step = StepReporter(f"engine/{version}/{variant}", f"vLLM {version}", emit)
            if found is None:
                found = await worker.install(self._home, version, variant, step.report)
                step.finish(f"installed ({found.variant}, {found.size_bytes / 1e9:.1f} GB)")
                if unused := describe_unused(await asyncio.to_thread(list_environments, self._home)):
                    self._note_once(unused, emit)
            self._note_once(f"vLLM {found.version} ({found.variant}) in {found.path}", emit)
            return found

    def _note_once(self, text: str, emit: events.Emit) -> None:
        if text not in self._noted:
            self._noted.add(text)
            emit(events.Note(text=text))


def pick_variant(model: spec.Model, *, has_gpu: bool) -> str | None:
    """The build of vLLM that the file asks for; None takes the build that suits the machine."""
    wanted = wants_gpu(model)
    if wanted:
        return "cuda"
    return "cpu" if wanted is False and has_gpu else None


class StepReporter:
    """Turns progress in bytes into a step of the fleet."""

    def __init__(self, step_id: str, title: str, emit: events.Emit) -> None:
        self._id = step_id
        self._title = title
        self._emit = emit
        self._used = False

    def report(self, progress: Progress) -> None:
        """Emit the step as it is now."""
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
        """Emit that the step is done, if it ever began."""
        if self._used:
            self._emit(events.Step(id=self._id, title=self._title, state=events.StepState.DONE, detail=detail))


def describe_progress(progress: Progress) -> str:
    """Stage, subject and amount: "downloading torch, 0.4 of 1.9 GB"."""
    text = f"{progress.stage} {progress.detail}".strip()
    if progress.done_bytes is None:
        return text
    done = f"{progress.done_bytes / 1e9:.1f}"
    return f"{text}, {done} of {progress.total_bytes / 1e9:.1f} GB" if progress.total_bytes else f"{text}, {done} GB"
