"""Keeps one engine running: start, run, wait, start again, until it is drained, stopped or cannot work.

    run      one run after another (engine.run), with a growing wait between them
    drain    no new requests, finish the running ones, then end; bounded
    stop     end now

The observer gets every state with its reason as a whole `EngineStatus`. What goes wrong with one engine, even a fault
of Remuda, is a reason to restart that engine and never leaves `run` as an exception. The module does not know the
gateway. Use one instance per replica, in the main thread's event loop (see engine.process).
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from remuda.engine.diagnosis.deaths import Death
from remuda.engine.diagnosis.hangs import WatchSettings
from remuda.engine.diagnosis.stages import Stage
from remuda.engine.errors import EngineError
from remuda.engine.log import EngineLog
from remuda.engine.plan import EnginePlan
from remuda.engine.restarts import BackoffSettings, DeathCounter
from remuda.engine.run import EngineRun, Start, explain_fault
from remuda.engine.scratch import own_scratch
from remuda.engine.status import EngineFacts, EngineState, EngineStatus
from remuda.machine.cgroups import ControlGroup
from remuda.machine.ports import pick_free_port

PORT_ATTEMPTS = 5
"""Ports that are tried when another server has the planned one by the time the engine binds it."""
DRAIN_GRACE_S = 10.0
"""Beyond the drain timeout: vLLM ends its own children after the last request."""

Observer = Callable[[EngineStatus], None]
GroupMaker = Callable[[str], ControlGroup | None]


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """Timing of one supervisor. The defaults suit real engines; tests shorten them."""

    backoff: BackoffSettings = field(default_factory=BackoffSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)


def make_no_group(_name: str) -> None:
    """For machines without control groups."""


class EngineSupervisor:
    """One engine under supervision. It observes its own runs (run.RunObserver)."""

    def __init__(
        self,
        plan: EnginePlan,
        observer: Observer = lambda _: None,
        settings: SupervisorSettings | None = None,
        make_group: GroupMaker = make_no_group,
    ) -> None:
        self._plan = plan
        self._observer = observer
        self._settings = settings or SupervisorSettings()
        self._make_group = make_group
        self._log = EngineLog(plan.log_path, plan.secrets, self._read_line)
        self._deaths = DeathCounter(self._settings.backoff)
        self._run: EngineRun | None = None
        self._was_ready = False
        self._began = False
        self._ending = asyncio.Event()
        self._done = asyncio.Event()
        self.status = EngineStatus(
            model=plan.model,
            replica=plan.replica,
            state=EngineState.WAITING,
            reason="not started yet",
            host=plan.host,
            port=plan.port,
            entered_at=time.time(),
        )

    async def run(self) -> None:
        """Return when the engine is drained, stopped or cannot work. Cancelling the call ends the engine at once."""
        self._began = True
        try:
            while not self._ending.is_set():
                death = await self._run_once()
                if death is None or not await self._wait_after(death):
                    break
            if self.status.state is not EngineState.FAILED:
                self._set(EngineState.STOPPED, "ended as asked", pid=None)
        finally:
            self._log.close()
            self._done.set()

    async def drain(self) -> None:
        """Let running requests finish, then end; after the drain timeout end anyway. Returns when nothing is left."""
        self._ending.set()
        if self._run is None:
            await self._wait_until_done()
            return
        if self.status.state is EngineState.READY:
            limit_s = self._plan.drain_timeout_s
            self._set(EngineState.DRAINING, f"finishing running requests, at most {limit_s:g} s")
            self._run.drain()
            try:
                await asyncio.wait_for(self._done.wait(), limit_s + DRAIN_GRACE_S)
            except TimeoutError:
                self._log.note("the drain timeout is over: ending the engine")
        await self.stop()

    async def stop(self) -> None:
        """End the engine now. Returns when nothing is left."""
        self._ending.set()
        if self._run is not None:
            self._run.kill()
        await self._wait_until_done()

    async def _wait_until_done(self) -> None:
        if self._began:
            await self._done.wait()
        else:
            self._set(EngineState.STOPPED, "never started")

    async def _run_once(self) -> Death | None:
        """One run from start to end; None when the end was asked for."""
        try:
            return await self._try_ports()
        except EngineError as error:
            return Death(error.message, error.hint, is_permanent=True)
        except Exception as error:  # noqa: BLE001 - reason: a fault here is one engine's death, not the fleet's
            return explain_fault(error, self._log)

    async def _try_ports(self) -> Death | None:
        for _ in range(PORT_ATTEMPTS):
            run = EngineRun(self._plan, self._log, self, self._settings.watch)
            death = await self._live(run)
            self._was_ready = self._was_ready or run.was_ready
            if self._ending.is_set():
                return None
            if not run.port_taken:
                self._deaths.forget_after(run.ready_s)
                return death
            self._plan = self._plan.with_port(pick_free_port(self._plan.host))
            self._log.note(f"the port was taken; trying {self._plan.port}")
        return Death(
            f"no free port was found in {PORT_ATTEMPTS} attempts", "see what listens on this machine: `ss -ltnp`"
        )

    async def _live(self, run: EngineRun) -> Death:
        with own_scratch(self._plan.scratch_path) as places:
            self._run = run
            try:
                await run.start(Start(places, self._make_group(self._plan.id)))
                self._set(
                    EngineState.STARTING,
                    Stage.SPAWNED.value,
                    pid=run.pid,
                    port=self._plan.port,
                    facts=replace(self.status.facts, kv_tokens=None),
                    progress=None,
                )
                return await run.live()
            finally:
                self._run = None

    async def _wait_after(self, death: Death) -> bool:
        """Report what happened and wait; False when another start is of no use."""
        self._deaths.count()
        self._log.note(death.reason)
        if death.is_permanent and not self._was_ready:
            self._set(EngineState.FAILED, _with_hint(death), pid=None, progress=None)
            return False
        seconds = self._deaths.wait_s(random.random())  # noqa: S311 (jitter)
        is_loop = self._deaths.is_crash_loop
        times = f"died {self._deaths.deaths} times in a row; " if is_loop else ""
        self._set(
            EngineState.CRASH_LOOP if is_loop else EngineState.BACKOFF,
            f"{times}{_with_hint(death)}; starting again in {seconds:.0f} s",
            pid=None,
            progress=None,
            restarts=self.status.restarts + 1,
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)
        return not self._ending.is_set()

    # --- what a run reports (run.RunObserver)

    def on_stage(self, stage: Stage, progress: float | None) -> None:
        """The start reached this stage."""
        if self.status.state is EngineState.STARTING:
            self._set(EngineState.STARTING, stage.value, progress=progress)

    def on_facts(self, facts: EngineFacts) -> None:
        """The log of the start said something about the engine; the next status has it."""
        self.status = replace(self.status, facts=self.status.facts.updated(facts))

    def on_ready(self, facts: EngineFacts) -> None:
        """The engine answered."""
        self._set(EngineState.READY, "ready", progress=None, facts=self.status.facts.updated(facts))

    def _read_line(self, line: str) -> None:
        if self._run is not None:
            self._run.read_line(line)

    def _set(self, state: EngineState, reason: str, **changes: object) -> None:
        entered_at = time.time() if state is not self.status.state else self.status.entered_at
        new = replace(self.status, state=state, reason=reason, entered_at=entered_at, **changes)  # type: ignore[arg-type]
        if new == self.status:
            return
        self.status = new
        try:
            self._observer(new)
        except Exception as error:  # noqa: BLE001 - reason: a fault of the observer must not leave the engine unwatched
            explain_fault(error, self._log)


def _with_hint(death: Death) -> str:
    return f"{death.reason} ({death.hint})" if death.hint else death.reason
