"""The fleet of this machine while it runs: engines and gateway started, watched, shown, drained.

The life of `remuda up` is `Supervisor.run`. It is given its collaborators (`Workshop` makes engines) and knows
neither terminals (it emits events) nor how vLLM is started. One asyncio task an engine, one for the gateway; a
model that cannot run leaves the others alone. Called by `app`.
"""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import asdict
from typing import Any, Protocol

from msgspec.structs import replace

from remuda import spec
from remuda.engine.status import EngineState, EngineStatus
from remuda.errors import RemudaError
from remuda.fleet import control, events, figures, greeting, inspection, record, roster, wording
from remuda.fleet.gateway_child import COMMAND, GatewayChild, GatewayState, GatewayStatus
from remuda.fleet.plan import FleetPlan
from remuda.fleet.scrape import Scraper
from remuda.fleet.snapshot import FleetSnapshot
from remuda.gateway.access.tenant_store import TenantStore
from remuda.machine import ports
from remuda.machine.files import bound_file
from remuda.machine.home import Home
from remuda.machine.processes import ProcessId, fetch_process_id

CUT_S = 10.0  # after a second Ctrl-C: SIGKILL and reaping take milliseconds, a loaded machine longer
FOLLOWER_S = 2.0  # for `remuda down` to read the last events
APPENDED_LOGS = ("gateway.log", "fleet.log")
LOG_CHECK_S = 10.0  # at 1,000 requests/s a gateway writes 2 MB in that time
LOG_LIMIT_BYTES = 64 * 1024 * 1024  # its predecessor may take as much again
HOPELESS = frozenset({EngineState.FAILED, EngineState.STOPPED})
NEVER_READY = HOPELESS | {EngineState.CRASH_LOOP}  # at the start: what dies again and again before it was ever ready
SETTLED = NEVER_READY | {EngineState.READY}


class EngineHandle(Protocol):
    """One replica, as `engine.supervisor.EngineSupervisor` is."""

    @property
    def status(self) -> EngineStatus:
        """What is known of it now."""
        ...

    async def run(self) -> None:
        """Keep it running until it is drained or stopped, or cannot work."""
        ...

    async def drain(self) -> None:
        """Let it finish what it has, then end it."""
        ...

    async def stop(self) -> None:
        """End it now."""
        ...


class Workshop(Protocol):
    """Where engines come from."""

    async def prepare(self, model: spec.Model, emit: events.Emit) -> None:
        """Have everything the model's engines need: an installation, weights."""
        ...

    def build(
        self, model: spec.Model, replica: int, port: int, observer: Callable[[EngineStatus], None]
    ) -> EngineHandle:
        """One replica, not yet started. Everything was prepared."""
        ...


class Supervisor:
    """One fleet, from claim to the last process gone."""

    def __init__(
        self,
        plan: FleetPlan,
        home: Home,
        workshop: Workshop,
        emit: events.Emit,
        gateway_command: tuple[str, ...] = COMMAND,
    ) -> None:
        self._plan = plan
        self._home = home
        self._workshop = workshop
        self._sink = emit
        self._began_s = time.monotonic()
        self._started_at = time.time()
        self._engines: dict[str, EngineHandle] = {}
        self._statuses: dict[str, EngineStatus] = {}
        self._refusals: dict[str, RemudaError] = {}
        self._stored_keys = plan.stored_keys
        self._asks_for_keys = plan.needs_key
        self._reservations: list[ports.Reservation] = []
        self._followers: set[asyncio.Queue[events.AnyEvent | None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._listening = asyncio.Event()
        self._cut = asyncio.Event()
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._phase = "starting"
        self._scraper = Scraper()
        self._gateway = GatewayChild(
            asdict(plan.settings), self._on_gateway, home.logs / "gateway.log", gateway_command
        )

    # --- the life of a fleet

    async def run(self) -> None:
        """Serve until told to stop. Raises what made serving impossible; nothing is left running either way."""
        with record.claim_home(self._home.state):
            ports.require_free_port(self._plan.settings.host, self._plan.settings.port)
            desk = await control.serve(control.listen(self._home.state), self)
            try:
                self._begin()
                reason = await self._end
                self._emit(events.Stopping(reason=reason))
            finally:
                await self._leave()
                self._emit(events.Stopped(seconds=time.monotonic() - self._began_s))
                await self._dismiss_followers()
                desk.close()
                await self._scraper.close()

    def _begin(self) -> None:
        self._expect_engines()
        self._push_table()
        self._spawn(self._gateway.run())
        self._spawn(self._follow_tenants())
        self._spawn(figures.keep_telling(self._scraper.look, self._statuses.values, self._gateway.tell))
        self._spawn(self._bound_logs())
        self._opening = [self._spawn(self._open(model)) for model in self._plan.started]
        self._opening.append(self._spawn(self._welcome()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)
        return task

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._end.done():
            self._end.set_exception(error)

    async def _leave(self) -> None:
        """Drain gateway, then engines; a request to cut shortens it. Nothing is left running."""
        self._phase = "stopping"
        for opening in self._opening:
            opening.cancel()
        draining = asyncio.create_task(self._drain())
        cut = asyncio.create_task(self._cut.wait())
        await asyncio.wait({draining, cut}, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            self._gateway.kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CUT_S):
                    await asyncio.gather(*(engine.stop() for engine in self._engines.values()), return_exceptions=True)
        rest: list[asyncio.Task[Any]] = [draining, cut, *self._tasks]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for reservation in self._reservations:
            reservation.release()

    async def _drain(self) -> None:
        await self._gateway.drain(self._plan.settings.drain_timeout_s)
        await asyncio.gather(*self._opening, return_exceptions=True)  # an installer cleans up behind itself
        await asyncio.gather(*(self._retire(name) for name in self._engines), return_exceptions=True)

    async def _retire(self, name: str) -> None:
        """Drain an engine that still has requests; an idle one has nothing to finish, and vLLM's drain takes 5 s."""
        engine = self._engines[name]
        status = engine.status
        load = await self._scraper.fetch_load(f"http://{status.host}:{status.port}") if status.live else None
        await (engine.stop() if load == 0 else engine.drain())

    # --- engines

    def _expect_engines(self) -> None:
        """Every replica is known from the start, so that `status` and the gateway can say what it waits for."""
        for model in self._plan.started:
            for replica in range(model.spec.start_replicas):
                name = f"{model.metadata.name}-{replica}"
                reason = f"waiting for vLLM {model.spec.engine.version} and the weights"
                self._statuses[name] = EngineStatus(
                    name, model.metadata.name, EngineState.WAITING, reason, "127.0.0.1", 0, since=time.time()
                )

    async def _open(self, model: spec.Model) -> None:
        """One model: prepared once, then all its replicas at the same time. Its failure is its own."""
        names = [name for name, status in self._statuses.items() if status.model == model.metadata.name]
        try:
            await self._workshop.prepare(model, lambda event: self._on_preparation(names, event))
            for replica, name in enumerate(names):
                reservation = ports.reserve_port()
                self._reservations.append(reservation)
                self._engines[name] = self._workshop.build(model, replica, reservation.port, self._on_engine)
        except RemudaError as error:
            for name in names:
                self._fail(name, error)
            return
        for name in names:
            self._spawn(self._attend(name))

    def _on_preparation(self, names: list[str], event: events.AnyEvent) -> None:
        """What is installed or fetched is shown, and is why these engines wait."""
        self._emit(event)
        if isinstance(event, events.Step) and event.state is events.StepState.RUNNING:
            for name in names:
                reason = f"{event.title}: {event.detail}"
                self._statuses[name] = dataclasses.replace(self._statuses[name], reason=reason)
            self._push_table()

    async def _attend(self, name: str) -> None:
        try:
            await self._engines[name].run()
        except RemudaError as error:
            self._fail(name, error)

    def _fail(self, name: str, error: RemudaError) -> None:
        known = self._statuses[name]
        self._refusals[name] = error
        reason = wording.render_failure(error)
        self._on_engine(
            EngineStatus(name, known.model, EngineState.FAILED, reason, known.host, known.port, since=time.time())
        )

    def _on_engine(self, status: EngineStatus) -> None:
        known = self._statuses.get(status.id)
        self._statuses[status.id] = status
        self._emit(wording.describe_engine(status))
        if known is None or _routing_view(known) != _routing_view(status):
            self._push_table()
        if known is None or known.pid != status.pid:
            self._write_record()
        self._changed.set()
        self._check_hope()

    def _check_hope(self, hopeless: frozenset[EngineState] = HOPELESS) -> None:
        """Serving is over when no engine will ever run and none runs elsewhere."""
        if self._phase == "stopping" or self._plan.routed or self._end.done() or not self._statuses:
            return
        if all(status.state in hopeless for status in self._statuses.values()):
            self._end.set_exception(
                wording.explain_hopeless(list(self._statuses.values()), self._refusals, self._home.logs)
            )

    # --- gateway

    def _push_table(self) -> None:
        table = roster.plan_table(self._plan.table, self._statuses.values())
        self._gateway.push(replace(table, keys=table.keys + self._stored_keys))

    async def _follow_tenants(self) -> None:
        """Keys made and revoked by `remuda tenant` while the fleet runs."""
        async for keys in TenantStore.of_machine(self._home.state).watch():
            if keys != self._stored_keys:
                self._stored_keys = keys
                # A gateway that asked for keys goes on asking when the last one is revoked: nothing opens by itself.
                self._asks_for_keys = self._asks_for_keys or (bool(keys) and self._plan.settings.auth != "open")
                self._push_table()

    async def _bound_logs(self) -> None:
        """Bound the logs that child processes append to themselves; engines' logs are rotated by engine.log."""
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for name in APPENDED_LOGS:
                await asyncio.to_thread(bound_file, self._home.logs / name, LOG_LIMIT_BYTES)

    def _on_gateway(self, status: GatewayStatus) -> None:
        self._emit(wording.describe_gateway(status, self.url))
        self._write_record()
        if status.state is GatewayState.LISTENING:
            self._listening.set()

    @property
    def url(self) -> str:
        """The gateway's address, without /v1."""
        return wording.render_url(self._plan.settings, self._gateway.status.port)

    # --- the first answer

    async def _welcome(self) -> None:
        """Wait until every engine is settled, let a model answer, say that everything is ready."""
        await self._listening.wait()
        while any(status.state not in SETTLED for status in self._statuses.values()):
            self._changed.clear()
            await self._changed.wait()
        self._check_hope(NEVER_READY)
        if self._end.done():
            return
        table = roster.plan_table(self._plan.table, self._statuses.values())
        question = await greeting.ask_first(table, self._plan, self.url, self._emit)
        self._phase = "serving"
        self._write_record()
        self._emit(
            wording.describe_ready(self.url, table, self._statuses.values(), question, needs_key=self._asks_for_keys)
        )

    # --- what others may ask (control.Desk)

    async def describe(self) -> FleetSnapshot:
        """The fleet now."""
        return await inspection.take_snapshot(
            inspection.View(
                plan=self._plan,
                url=self.url,
                asks_for_keys=self._asks_for_keys,
                phase=self._phase,
                started_at=self._started_at,
                gateway=self._gateway.status,
                engines=tuple(self._statuses.values()),
                logs=self._home.logs,
            ),
            self._scraper,
        )

    def interrupt(self, reason: str) -> None:
        """A signal: the first one drains, the second cuts."""
        self.request_stop(reason, cut=self._end.done())

    def request_stop(self, reason: str, *, cut: bool = False) -> None:
        """Stop when running requests are finished; with `cut`, at once."""
        if cut:
            self._cut.set()
        if not self._end.done():
            self._end.set_result(reason)

    async def follow(self) -> AsyncIterator[events.AnyEvent]:
        """Events from now until the fleet is gone."""
        queue: asyncio.Queue[events.AnyEvent | None] = asyncio.Queue()
        self._followers.add(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._followers.discard(queue)
            self._changed.set()

    async def _dismiss_followers(self) -> None:
        for queue in self._followers:
            queue.put_nowait(None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FOLLOWER_S):
                while self._followers:
                    self._changed.clear()
                    await self._changed.wait()

    def _emit(self, event: events.AnyEvent) -> None:
        self._sink(event)
        for queue in self._followers:
            queue.put_nowait(event)

    # --- what a successor must know

    def _write_record(self) -> None:
        pids = {name: status.pid for name, status in self._statuses.items()}
        pids["gateway"] = self._gateway.status.pid
        children: dict[str, ProcessId] = {}
        for name, pid in pids.items():
            if pid is not None and (process := fetch_process_id(pid)) is not None:
                children[name] = process
        mine = record.describe_self(self.url, self._plan.files, children)
        with contextlib.suppress(OSError):  # a full disk must not stop a fleet that serves
            record.write_record(self._home.state, mine)


def _routing_view(status: EngineStatus) -> tuple[object, ...]:
    """What of a status the gateway's table depends on."""
    return status.state, status.host, status.port, status.max_model_len, status.reason
