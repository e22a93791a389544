"""The fleet of this machine while it runs: engines and gateway are started, watched, reported and drained.

`FleetSupervisor.run` is the life of `remuda up`. There is one asyncio task for each engine and one for the gateway; a
model that cannot run leaves the others alone. The module knows no terminal (it emits events), and not how vLLM is
started.
"""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import asdict
from typing import Any, Protocol

from msgspec.structs import replace

from remuda import spec
from remuda.engine.status import EngineState, EngineStatus, name_engine
from remuda.errors import RemudaError
from remuda.fleet import control, first_answer, record
from remuda.fleet.gateway_process import COMMAND, GatewayState, GatewayStatus, GatewaySupervisor
from remuda.fleet.plan import FleetPlan
from remuda.fleet.reporting import events, views
from remuda.fleet.reporting.broadcast import Broadcast
from remuda.fleet.reporting.engine_metrics import MetricsClient, publish_metrics
from remuda.fleet.reporting.snapshot import FleetSnapshot, FleetView, take_snapshot
from remuda.gateway.access.tenant_store import TenantStore
from remuda.gateway.settings import wants_keys
from remuda.gateway.table import Table
from remuda.machine import ports
from remuda.machine.files import bound_file
from remuda.machine.home import Home
from remuda.machine.processes import ProcessId, fetch_process_id

CUT_S = 10.0  # SIGKILL and reaping take milliseconds, on a loaded machine longer
RETRY_S = 5.0  # after a fault in reading the tenants
APPENDED_LOGS = ("gateway.log", "fleet.log")
LOG_CHECK_S = 10.0  # at 1,000 requests/s a gateway writes 2 MB in that time
LOG_LIMIT_BYTES = 64 * 1024 * 1024  # its predecessor may take as much again
FINAL = frozenset({EngineState.FAILED, EngineState.STOPPED})
NEVER_READY = FINAL | {EngineState.CRASH_LOOP}  # at the start: an engine that dies again and again, never ready
SETTLED = NEVER_READY | {EngineState.READY}

_log = logging.getLogger("remuda.fleet")


class EngineHandle(Protocol):
    """One replica under supervision."""

    @property
    def status(self) -> EngineStatus:
        """Its status now."""
        ...

    async def run(self) -> None:
        """Keep it running until it is drained or stopped, or cannot work."""
        ...

    async def drain(self) -> None:
        """Let it finish its running requests, then end it."""
        ...

    async def stop(self) -> None:
        """End it now."""
        ...


class EngineSource(Protocol):
    """Makes engines."""

    async def prepare(self, model: spec.Model, emit: events.Emit) -> None:
        """Provide what the model's engines need: an installation and weights."""
        ...

    def build(
        self, model: spec.Model, replica: int, port: int, observer: Callable[[EngineStatus], None]
    ) -> EngineHandle:
        """One replica of a prepared model, not started yet."""
        ...


class FleetSupervisor:
    """One fleet, from the lock on its home to the end of its last process."""

    def __init__(
        self,
        plan: FleetPlan,
        home: Home,
        source: EngineSource,
        emit: events.Emit,
        gateway_command: tuple[str, ...] = COMMAND,
    ) -> None:
        self._plan = plan
        self._home = home
        self._source = source
        self._events = Broadcast(emit)
        self._began_at = time.monotonic()
        self._started_at = time.time()
        self._engines: dict[str, EngineHandle] = {}
        self._statuses: dict[str, EngineStatus] = {}
        self._refusals: dict[str, RemudaError] = {}
        self._stored_keys = plan.stored_keys
        self._sent: Table | None = None
        """What the gateway has been told."""
        self._asks_for_keys = plan.needs_key
        self._reservations: list[ports.Reservation] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._listening = asyncio.Event()
        self._cut = asyncio.Event()
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._phase = "starting"
        self._metrics = MetricsClient()
        self._gateway = GatewaySupervisor(
            asdict(plan.settings), self._on_gateway, home.logs / "gateway.log", gateway_command
        )

    # --- the life of a fleet

    async def run(self) -> None:
        """Serve until told to stop. Raises what made serving impossible; nothing is left running either way."""
        with record.claim_home(self._home.state):
            ports.require_free_port(self._plan.settings.listen.host, self._plan.settings.listen.port)
            server = await control.serve(control.listen(self._home.state), self)
            try:
                self._begin()
                reason = await self._end
                self._events.emit(events.Stopping(reason=reason))
            finally:
                await self._stop_everything()
                self._events.emit(events.Stopped(seconds=time.monotonic() - self._began_at))
                await self._events.close()
                server.close()
                await self._metrics.close()

    def _begin(self) -> None:
        self._expect_engines()
        self._send_table()
        self._spawn(self._gateway.run())
        self._spawn(self._follow_tenants())
        self._spawn(publish_metrics(self._metrics.fetch_metrics, self._statuses.values, self._gateway.send_figures))
        self._spawn(self._bound_logs())
        self._starting = [self._spawn(self._start_model(model)) for model in self._plan.started]
        self._starting.append(self._spawn(self._announce_ready()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)
        return task

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._end.done():
            self._end.set_exception(error)

    async def _stop_everything(self) -> None:
        """Drain the gateway, then the engines; a request to cut kills what still runs."""
        self._phase = "stopping"
        for task in self._starting:
            task.cancel()
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
        timeouts = self._plan.settings.timeouts
        await self._gateway.drain(timeouts.lame_duck_s + timeouts.drain_s)
        await asyncio.gather(*self._starting, return_exceptions=True)  # an interrupted installer removes its files
        await asyncio.gather(*(self._drain_engine(name) for name in self._engines), return_exceptions=True)

    async def _drain_engine(self, name: str) -> None:
        """Drain an engine that has requests. An idle one is stopped at once, because vLLM's drain takes 5 s."""
        engine = self._engines[name]
        status = engine.status
        url = f"http://{status.host}:{status.port}"
        requests = await self._metrics.count_requests(url) if status.is_ready else None
        await (engine.stop() if requests == 0 else engine.drain())

    # --- engines

    def _expect_engines(self) -> None:
        """Make every replica known from the start, so that `status` and the gateway can say what it waits for."""
        for model in self._plan.started:
            reason = f"waiting for vLLM {model.spec.engine.version} and the weights"
            for replica in range(model.spec.start_replicas):
                self._statuses[name_engine(model.name, replica)] = EngineStatus(
                    model.name, replica, EngineState.WAITING, reason, ports.LOOPBACK, 0, entered_at=time.time()
                )

    async def _start_model(self, model: spec.Model) -> None:
        """Prepare one model, then start all its replicas at the same time. Its failure is its own."""
        names = [name for name, status in self._statuses.items() if status.model == model.name]
        try:
            await self._source.prepare(model, lambda event: self._on_preparation(names, event))
            for replica, name in enumerate(names):
                reservation = ports.reserve_port()
                self._reservations.append(reservation)
                self._engines[name] = self._source.build(model, replica, reservation.port, self._on_engine)
        except Exception as error:  # noqa: BLE001 - reason: what goes wrong with one model must not stop the others
            for name in names:
                self._fail(name, error)
            return
        for name in names:
            self._spawn(self._run_engine(name))

    def _on_preparation(self, names: list[str], event: events.AnyEvent) -> None:
        """Show what is installed or fetched, and make it the reason why these engines wait."""
        self._events.emit(event)
        if isinstance(event, events.Step) and event.state is events.StepState.RUNNING:
            for name in names:
                reason = f"{event.title}: {event.detail}"
                self._statuses[name] = dataclasses.replace(self._statuses[name], reason=reason)
            self._send_table()

    async def _run_engine(self, name: str) -> None:
        try:
            await self._engines[name].run()
        except Exception as error:  # noqa: BLE001 - reason: what goes wrong with one engine must not stop the others
            self._fail(name, error)

    def _fail(self, name: str, error: Exception) -> None:
        refusal = views.explain_error(error)
        if refusal is not error:
            _log.error("%s: %s", name, refusal.message, exc_info=error)
        self._refusals[name] = refusal
        reason = views.render_failure(refusal)
        failed = EngineState.FAILED
        self._on_engine(
            dataclasses.replace(self._statuses[name], state=failed, reason=reason, entered_at=time.time(), pid=None)
        )

    def _on_engine(self, status: EngineStatus) -> None:
        known = self._statuses.get(status.id)
        self._statuses[status.id] = status
        self._events.emit(views.describe_engine(status))
        if known is None or _routing_view(known) != _routing_view(status):
            self._send_table()
        if known is None or known.pid != status.pid:
            self._write_record()
        self._changed.set()
        self._end_if_unservable()

    def _end_if_unservable(self, final: frozenset[EngineState] = FINAL) -> None:
        """End the fleet when no engine will ever serve and none runs elsewhere."""
        if self._phase == "stopping" or self._plan.routed or self._end.done() or not self._statuses:
            return
        if all(status.state in final for status in self._statuses.values()):
            self._end.set_exception(
                views.explain_unservable(list(self._statuses.values()), self._refusals, self._home.logs)
            )

    # --- gateway

    def _send_table(self) -> None:
        """Tell the gateway what changed: a new table, or only the words about models that wait."""
        table = self._stored_keys.add_to(views.plan_table(self._plan.table, self._statuses.values()))
        table = replace(table, keys_wanted=self._asks_for_keys)
        words = None if self._sent is None else views.find_new_words(self._sent, table)
        self._sent = table
        if words is None:
            self._gateway.send_table(table)
        elif words:
            self._gateway.send_words(words, table)

    async def _follow_tenants(self) -> None:
        """Follow the store of tenants; a fault in that leaves the last keys, is logged and tried again."""
        while True:
            try:
                await self._send_changed_keys()
            except Exception:  # noqa: BLE001 - reason: the models serve with the keys that are known
                _log.exception("the keys of `remuda tenant` could not be followed")
            await asyncio.sleep(RETRY_S)

    async def _send_changed_keys(self) -> None:
        """Send the gateway the keys that `remuda tenant` makes and revokes while the fleet runs."""
        async for keys in TenantStore.of_machine(self._home.state).watch():
            if keys != self._stored_keys:
                self._stored_keys = keys
                # Nothing opens by itself: once it asks for keys, it does so until the fleet ends.
                self._asks_for_keys = self._asks_for_keys or wants_keys(self._plan.settings, keys.wanted)
                self._send_table()

    async def _bound_logs(self) -> None:
        """Bound the logs that child processes append to themselves; engine.log rotates the engines' logs."""
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for name in APPENDED_LOGS:
                await asyncio.to_thread(bound_file, self._home.logs / name, LOG_LIMIT_BYTES)

    def _on_gateway(self, status: GatewayStatus) -> None:
        self._events.emit(views.describe_gateway(status, self.url))
        self._write_record()
        if status.state is GatewayState.LISTENING:
            self._listening.set()

    @property
    def url(self) -> str:
        """The gateway's address, without /v1."""
        return views.render_url(self._plan.settings, self._gateway.status.port)

    # --- the first answer

    async def _announce_ready(self) -> None:
        """Wait until every engine is ready or has failed, let a model answer, and emit Ready."""
        await self._listening.wait()
        while any(status.state not in SETTLED for status in self._statuses.values()):
            self._changed.clear()
            await self._changed.wait()
        self._end_if_unservable(NEVER_READY)
        if self._end.done():
            return
        table = views.plan_table(self._plan.table, self._statuses.values())
        question = await first_answer.ask_first(table, self._plan, self.url, self._events.emit)
        self._phase = "serving"
        self._write_record()
        self._events.emit(
            views.describe_ready(self.url, table, self._statuses.values(), question, needs_key=self._asks_for_keys)
        )

    # --- what the control socket may ask (control.ControlledFleet)

    async def describe(self) -> FleetSnapshot:
        """The fleet now."""
        return await take_snapshot(
            FleetView(
                plan=self._plan,
                url=self.url,
                asks_for_keys=self._asks_for_keys,
                phase=self._phase,
                started_at=self._started_at,
                gateway=self._gateway.status,
                engines=tuple(self._statuses.values()),
                logs=self._home.logs,
            ),
            self._metrics,
        )

    def interrupt(self, reason: str) -> None:
        """Handle a signal: the first one drains, the second one cuts."""
        self.request_stop(reason, cut=self._end.done())

    def request_stop(self, reason: str, *, cut: bool = False) -> None:
        """Stop when running requests are finished or, with `cut`, at once."""
        if cut:
            self._cut.set()
        if not self._end.done():
            self._end.set_result(reason)

    def follow(self) -> AsyncIterator[events.AnyEvent]:
        """Events from now until the fleet is gone."""
        return self._events.follow()

    # --- the record of this fleet for other processes

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
    """The parts of a status that the gateway's table depends on."""
    return status.state, status.host, status.port, status.facts.max_model_len, status.reason
