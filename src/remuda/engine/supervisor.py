"""Keeps one engine alive: start, prove, watch, replace, drain.

    run          start → ready → watch → (died or hung) → wait → start …, until drained or stopped
    drain        no new requests, finish what is aboard, then end; bounded
    stop         end now

States and their reasons go to the observer as whole `EngineStatus` values. Decisions are elsewhere and pure: when it
is hung (policy.hung), why it died (deaths), how long to wait (backoff). Does not know the gateway: fleet turns the
status into endpoints. One instance per replica, in the main thread's event loop (see process).
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from remuda.engine.diagnosis.deaths import Death, Ending, explain_death
from remuda.engine.diagnosis.hangs import Watch, WatchSettings
from remuda.engine.diagnosis.probe import Probe
from remuda.engine.diagnosis.readiness import WrongNamesError, wait_until_ready
from remuda.engine.diagnosis.stages import Sighting, Stage, later, parse_line
from remuda.engine.errors import EngineError
from remuda.engine.log import EngineLog
from remuda.engine.plan import EnginePlan
from remuda.engine.process import Command, EngineProcess
from remuda.engine.restarts import BackoffSettings, wait_s
from remuda.engine.scratch import own_scratch
from remuda.engine.status import EngineState, EngineStatus
from remuda.machine.ports import pick_free_port

PORT_ATTEMPTS = 5
"""Other ports tried when the planned one is taken by the time the engine binds it."""
DRAIN_GRACE_S = 10.0
"""Beyond the drain timeout: vLLM ends its own children after the last request."""


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """Timing of one supervisor; the defaults suit real engines, tests shorten them."""

    backoff: BackoffSettings = field(default_factory=BackoffSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)


Observer = Callable[[EngineStatus], None]


@dataclass(slots=True)
class _Run:
    """What is known about the present run of the process."""

    process: EngineProcess
    stage: Stage = Stage.SPAWNED
    port_taken: bool = False
    ready_at_s: float | None = None
    verdict: Death | None = None
    """Why we ended it ourselves."""


class EngineSupervisor:
    """One supervised replica."""

    def __init__(
        self, plan: EnginePlan, observer: Observer = lambda _: None, settings: SupervisorSettings | None = None
    ) -> None:
        self._plan = plan
        self._observer = observer
        self._settings = settings or SupervisorSettings()
        self._log = EngineLog(plan.log_path, plan.secrets, self._read_line)
        self._run: _Run | None = None
        self._deaths_in_row = 0
        self._was_ready = False
        self._ran_well = False
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
        """Until drained, stopped or hopeless. Cancelling it ends the engine at once."""
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
        """Finish what is aboard, then end; after the drain timeout end anyway. Returns when nothing is left."""
        self._ending.set()
        if self._run is None:
            await self._ended()
            return
        if self.status.state is EngineState.READY:
            limit_s = self._plan.drain_timeout_s
            self._set(EngineState.DRAINING, f"finishing running requests, at most {limit_s:g} s")
            self._run.process.terminate()
            try:
                await asyncio.wait_for(self._done.wait(), limit_s + DRAIN_GRACE_S)
            except TimeoutError:
                self._log.note("the drain timeout is over: ending the engine")
        await self.stop()

    async def stop(self) -> None:
        """End it now, whatever it is doing. Returns when nothing is left."""
        self._ending.set()
        if self._run is not None:
            self._run.process.kill()
        await self._ended()

    async def _ended(self) -> None:
        if self._began:
            await self._done.wait()
        else:
            self._set(EngineState.STOPPED, "never started")

    async def _run_once(self) -> Death | None:
        """One process from start to end; None when the end was asked for."""
        for _ in range(PORT_ATTEMPTS):
            try:
                with own_scratch(self._plan.scratch_path) as places:
                    run = await self._start(places)
                    if run is None:
                        return None
                    status = await self._live(run)
            except EngineError as error:
                return Death(error.message, error.hint, hopeless=not self._was_ready)
            death = self._judge(run, status)
            if death is None or not run.port_taken:
                return death
            self._plan = self._plan.with_port(pick_free_port(self._plan.host))
            self._log.note(f"the port was taken; trying {self._plan.port}")
        return Death(
            f"no free port was found in {PORT_ATTEMPTS} attempts", "see what listens on this machine: `ss -ltnp`"
        )

    async def _start(self, places: Mapping[str, str]) -> _Run | None:
        if self._ending.is_set():
            return None
        self._log.recent.clear()
        self._log.note(f"starting {self._plan.id} on port {self._plan.port}")
        process = await EngineProcess.start(Command(self._plan.argv, {**places, **self._plan.env}), self._log)
        self._run = _Run(process)
        self._set(
            EngineState.STARTING,
            Stage.SPAWNED.value,
            pid=process.pid,
            port=self._plan.port,
            kv_tokens=None,
            progress=None,
        )
        if self._ending.is_set():  # asked while the process was being made: there was nothing to end yet
            process.kill()
        return self._run

    async def _live(self, run: _Run) -> int:
        """Prove and watch while the process lives; its exit status."""
        guard = asyncio.create_task(self._guard(run), name=f"guard {self._plan.id}")
        guard.add_done_callback(lambda _: run.process.kill(asked=False))  # whatever ends it, nothing runs unwatched
        try:
            return await run.process.wait()
        except asyncio.CancelledError:
            run.process.kill()
            await run.process.wait()
            raise
        finally:
            guard.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await guard
            self._run = None

    async def _guard(self, run: _Run) -> None:
        """Everything we ask of a living engine. What it finds wrong ends the process, and so the run."""
        probe = Probe(self._plan.host, self._plan.port, self._plan.question)
        try:
            try:
                async with asyncio.timeout(self._plan.startup_timeout_s):
                    facts = await wait_until_ready(probe, self._plan.served_names, lambda: self._show(Stage.PROBING))
            except TimeoutError:
                run.verdict = Death(self._too_slow(run))
            except WrongNamesError as error:
                run.verdict = self._wrong_names(run, error)
            else:
                run.ready_at_s = time.monotonic()
                self._was_ready = True
                known = {name: value for name, value in facts.items() if value is not None}
                self._set(EngineState.READY, "ready", progress=None, **known)
                watch = Watch(probe, run.process, self._plan.served_names[0], self._settings.watch)
                run.verdict = Death(str(await watch.until_hung()))
            self._log.note(f"ending the engine: {run.verdict.reason}")
        finally:
            await probe.close()

    def _too_slow(self, run: _Run) -> str:
        return f"it was not ready after {self._plan.startup_timeout_s:g} s (last stage: {run.stage.value})"

    def _wrong_names(self, run: _Run, error: WrongNamesError) -> Death:
        """Not ours as long as our own has not said that it opens its server: another one was faster at this port."""
        if later(run.stage, Stage.LISTENING) is not run.stage:
            run.port_taken = True
            return Death(f"another server answers on port {self._plan.port}: {error}")
        hint = "served names follow metadata.name, servedName, aliases and adapters: let no plug-in or env change them"
        return Death(str(error), hint, hopeless=True)

    def _judge(self, run: _Run, status: int) -> Death | None:
        """Why the run ended; None when we wanted it to."""
        ready_s = 0.0 if run.ready_at_s is None else time.monotonic() - run.ready_at_s
        self._ran_well = ready_s >= self._settings.backoff.good_run_s
        if self._ending.is_set():
            return None
        if run.verdict is not None:
            return run.verdict
        was_ready = run.ready_at_s is not None
        return explain_death(Ending(status, tuple(self._log.recent), run.process.oom_kills, was_ready))

    async def _wait_after(self, death: Death) -> bool:
        """Say what happened and wait; False when there is no use in another start."""
        self._deaths_in_row = 1 if self._ran_well else self._deaths_in_row + 1
        self._ran_well = False
        self._log.note(death.reason)
        if death.hopeless and not self._was_ready:
            self._set(EngineState.FAILED, _with_hint(death), pid=None, progress=None)
            return False
        seconds = wait_s(self._deaths_in_row, random.random(), self._settings.backoff)  # noqa: S311 (jitter)
        loop = self._deaths_in_row >= self._settings.backoff.crash_loop_after
        state = EngineState.CRASH_LOOP if loop else EngineState.BACKOFF
        times = f"died {self._deaths_in_row} times in a row; " if loop else ""
        restarts = self.status.restarts + 1
        reason = f"{times}{_with_hint(death)}; starting again in {seconds:.0f} s"
        self._set(state, reason, pid=None, progress=None, restarts=restarts)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)
        return not self._ending.is_set()

    def _read_line(self, line: str) -> None:
        """One log line: only a start is read for its stages."""
        run = self._run
        if run is None or run.ready_at_s is not None:
            return
        sighting = parse_line(line)
        if sighting is not None:
            self._apply(run, sighting)

    def _apply(self, run: _Run, sighting: Sighting) -> None:
        run.port_taken = run.port_taken or sighting.port_taken
        facts = {"kv_tokens": sighting.kv_tokens, "max_model_len": sighting.max_model_len, "version": sighting.version}
        known = {name: value for name, value in facts.items() if value is not None}
        if known:
            self.status = replace(self.status, **known)  # type: ignore[arg-type]
        if sighting.stage is not None:
            run.stage = later(run.stage, sighting.stage)
            if run.stage is sighting.stage:
                self._show(run.stage, sighting.progress)

    def _show(self, stage: Stage, progress: float | None = None) -> None:
        if self.status.state is EngineState.STARTING:
            self._set(EngineState.STARTING, stage.value, progress=progress)

    def _set(self, state: EngineState, reason: str, **changes: object) -> None:
        entered_at = time.time() if state is not self.status.state else self.status.entered_at
        new = replace(self.status, state=state, reason=reason, entered_at=entered_at, **changes)  # type: ignore[arg-type]
        if new != self.status:
            self.status = new
            self._observer(new)


def _with_hint(death: Death) -> str:
    return f"{death.reason} ({death.hint})" if death.hint else death.reason


__all__ = ["EngineError", "EngineSupervisor", "Observer", "SupervisorSettings"]
