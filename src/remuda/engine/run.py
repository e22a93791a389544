"""One run of one engine: its process is started, proved ready, watched, and ended.

`EngineRun.live` returns the reason when the run ended without being asked to. Whatever the engine's HTTP side sends,
and whatever goes wrong in here, ends this run and nothing else. Restarts and states are not decided here.
"""

import asyncio
import contextlib
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from remuda.engine.diagnosis.deaths import Death, Ending, explain_death
from remuda.engine.diagnosis.hangs import HangWatch, WatchSettings
from remuda.engine.diagnosis.probe import Probe
from remuda.engine.diagnosis.readiness import ForeignServerError, WrongNamesError, wait_until_ready
from remuda.engine.diagnosis.stages import LineMeaning, Stage, later, parse_line
from remuda.engine.log import EngineLog
from remuda.engine.plan import EnginePlan
from remuda.engine.process import Command, EngineProcess
from remuda.engine.status import EngineFacts
from remuda.machine.cgroups import ControlGroup
from remuda.machine.ports import describe_listener, is_held_by

_NAMES_HINT = "served names follow metadata.name, servedName, aliases and adapters: let no plug-in or env change them"


@dataclass(frozen=True, slots=True)
class Start:
    """What the process is started with beside its plan."""

    places: Mapping[str, str]
    """Variables that name the engine's own folders (scratch)."""
    group: ControlGroup | None = None


class RunObserver(Protocol):
    """Is told how a run goes on."""

    def on_stage(self, stage: Stage, progress: float | None) -> None:
        """The start reached this stage."""
        ...

    def on_facts(self, facts: EngineFacts) -> None:
        """The log of the start said something about the engine."""
        ...

    def on_ready(self, facts: EngineFacts) -> None:
        """The engine answered."""
        ...


class EngineRun:
    """One run; `live` may be called once."""

    def __init__(self, plan: EnginePlan, log: EngineLog, observer: RunObserver, watch: WatchSettings) -> None:
        self._plan = plan
        self._log = log
        self._observer = observer
        self._watch = watch
        self._stage = Stage.SPAWNED
        self._ready_at: float | None = None
        self._verdict: Death | None = None
        self._process: EngineProcess | None = None
        self._is_killed = False
        self.port_taken = False
        """Whether another server has the port, so that the engine should be started on another one."""

    @property
    def pid(self) -> int | None:
        """The API process, once it is started."""
        return self._process.pid if self._process else None

    @property
    def was_ready(self) -> bool:
        """Whether the engine was ever ready in this run."""
        return self._ready_at is not None

    @property
    def ready_s(self) -> float:
        """How long the engine has been ready."""
        return 0.0 if self._ready_at is None else time.monotonic() - self._ready_at

    def drain(self) -> None:
        """Ask the engine to finish its running requests and to end."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End the engine now, or as soon as its process exists."""
        self._is_killed = True
        if self._process is not None:
            self._process.kill()

    async def start(self, start: Start) -> None:
        """Start the process. Raises EngineError when the system refuses it."""
        self._log.recent.clear()
        self._log.note(f"starting {self._plan.id} on port {self._plan.port}")
        command = Command(self._plan.argv, {**start.places, **self._plan.env})
        try:
            self._process = await EngineProcess.start(command, self._log, start.group)
        except BaseException:
            if start.group is not None:
                start.group.remove()
            raise
        if self._is_killed:  # asked while the process was being made
            self._process.kill()

    async def live(self) -> Death:
        """Prove and watch the engine while its process lives; why it ended."""
        process = self._process
        assert process is not None
        guard = asyncio.create_task(self._guard(process), name=f"guard {self._plan.id}")
        guard.add_done_callback(lambda _: process.kill())  # whatever ends the guard, nothing runs unwatched
        try:
            end = await process.wait()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        finally:
            guard.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await guard
        if self._verdict is not None:
            return self._verdict
        lines = tuple(self._log.recent)
        return explain_death(Ending(end.status, lines, end.machine_oom_kills, end.own_oom_kills, self.was_ready))

    def read_line(self, line: str) -> None:
        """Take in a line of the engine's log; only a start is read for its stages."""
        if self._process is None or self._ready_at is not None:
            return
        meaning = parse_line(line)
        if meaning is not None:
            self._apply(meaning)

    def _apply(self, meaning: LineMeaning) -> None:
        self.port_taken = self.port_taken or meaning.port_taken
        if meaning.facts is not None:
            self._observer.on_facts(meaning.facts)
        if meaning.stage is not None:
            self._stage = later(self._stage, meaning.stage)
            if self._stage is meaning.stage:
                self._observer.on_stage(self._stage, meaning.progress)

    async def _guard(self, process: EngineProcess) -> None:
        """Decide whether the engine must be ended: it does not become ready, it hangs, or this code fails."""
        probe = Probe(self._plan.host, self._plan.port, self._plan.question)
        try:
            self._verdict = await self._watch_until_wrong(probe, process)
        except Exception as error:  # noqa: BLE001 - reason: a fault here must end this engine's run and no other
            self._verdict = explain_fault(error, self._log)
        finally:
            await probe.close()
        self._log.note(f"ending the engine: {self._verdict.reason}")

    async def _watch_until_wrong(self, probe: Probe, process: EngineProcess) -> Death:
        plan = self._plan
        try:
            async with asyncio.timeout(plan.startup_timeout_s):
                facts = await wait_until_ready(
                    probe,
                    plan.served_names,
                    lambda: is_held_by(process.list_pids(), plan.port, plan.host),
                    lambda: self._observer.on_stage(Stage.PROBING, None),
                )
        except TimeoutError:
            return Death(f"it was not ready after {plan.startup_timeout_s:g} s (last stage: {self._stage.value})")
        except ForeignServerError:
            self.port_taken = True
            return Death(f"another server answers on port {plan.port}: {describe_listener(plan.port)}")
        except WrongNamesError as error:
            return Death(str(error), _NAMES_HINT, is_permanent=True)
        self._ready_at = time.monotonic()
        self._observer.on_ready(facts)
        watch = HangWatch(probe, plan.served_names[0], process.measure_core_cpu_s, self._watch)
        return Death(str(await watch.until_hung()))


def explain_fault(error: Exception, log: EngineLog) -> Death:
    """A fault of Remuda as the reason of an end. The traceback goes to the engine's log, which masks secrets."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        log.note(line)
    return Death(f"a fault in Remuda ({type(error).__name__})", "report it with the traceback in the engine's log")
