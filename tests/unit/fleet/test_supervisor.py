"""The life of a fleet, with doubles of engines and gateway."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from remuda import spec
from remuda.engine.errors import InstallError
from remuda.engine.status import EngineFacts, EngineState, EngineStatus, name_engine
from remuda.fleet import control
from remuda.fleet.errors import FleetError, FleetRunningError
from remuda.fleet.gateway_process import GatewayState
from remuda.fleet.plan import FleetPlan
from remuda.fleet.record import is_claimed, read_record
from remuda.fleet.reporting import events
from remuda.fleet.supervisor import FleetSupervisor
from remuda.gateway.access.tenant_store import TenantStore
from remuda.gateway.options import Auth, Listen, Timeouts
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import ModelRoute, Table
from remuda.machine.home import Home

DOUBLE = (sys.executable, str(Path(__file__).with_name("speaking_gateway.py")), "--fd")
DEADLINE_S = 20.0
Observer = Callable[[EngineStatus], None]


class DoubleEngine:
    """Becomes ready, or takes the state in `fate`, and ends when it is drained."""

    def __init__(self, status: EngineStatus, observer: Observer, fate: EngineState) -> None:
        self.status = status
        self.observer = observer
        self.fate = fate
        self.left = asyncio.Event()
        self.cut = False
        self.fault: Exception | None = None

    def become(self, state: EngineState, reason: str = "") -> None:
        self.status = replace(self.status, state=state, reason=reason)
        self.observer(self.status)

    async def run(self) -> None:
        self.become(EngineState.STARTING, "loading weights")
        if self.fault is not None:
            raise self.fault
        self.become(self.fate, "as told")
        if self.fate is not EngineState.FAILED:
            await self.left.wait()
            self.become(EngineState.STOPPED)

    async def drain(self) -> None:
        if self.fate is EngineState.DRAINING:  # it has requests that never end
            await asyncio.Event().wait()
        self.left.set()

    async def stop(self) -> None:
        self.cut = True
        self.left.set()


class DoubleSource:
    """Makes engine doubles."""

    def __init__(
        self, fates: dict[str, EngineState] | None = None, faults: dict[tuple[str, str], Exception] | None = None
    ) -> None:
        self.fates = fates or {}
        self.faults = faults or {}
        """(when, model) → what is raised."""
        self.engines: dict[str, DoubleEngine] = {}
        self.installing: asyncio.Event | None = None
        self.cleaned_up = False

    async def prepare(self, model: spec.Model, emit: events.Emit) -> None:
        if self.installing is not None:
            emit(events.Step(id="e", title="vLLM 0.32.0", state=events.StepState.RUNNING, detail="downloading torch"))
            try:
                await self.installing.wait()
            finally:
                await asyncio.sleep(0.05)  # the installer removes unfinished files
                self.cleaned_up = True
        self.fail("prepare", model)

    def fail(self, when: str, model: spec.Model) -> None:
        if (when, model.name) in self.faults:
            raise self.faults[when, model.name]

    def build(self, model: spec.Model, replica: int, port: int, observer: Observer) -> DoubleEngine:
        self.fail("build", model)
        name = name_engine(model.name, replica)
        facts = EngineFacts(kv_tokens=1024)
        status = EngineStatus(model.name, replica, EngineState.WAITING, "", "127.0.0.1", port, facts=facts)
        fate = self.fates.get(name, EngineState.READY)
        self.engines[name] = DoubleEngine(status, observer, fate)
        self.engines[name].fault = self.faults.get(("run", model.name))
        return self.engines[name]


def plan_of(*names: str, replicas: int = 1) -> FleetPlan:
    text = "\n---\n".join(
        f"{{apiVersion: remuda.dev/v1alpha1, kind: Model, metadata: {{name: {name}}}, "
        f"spec: {{source: 'demo://remuda-demo', replicas: {replicas}}}}}"
        for name in names
    )
    return FleetPlan(
        files=("fleet.yaml",),
        started=spec.load_text(text).models,
        routed=(),
        settings=GatewaySettings(listen=Listen(port=0)),
        table=Table(models=tuple(ModelRoute(name=name, served_name=name) for name in names)),
    )


class Fleet:
    """A supervisor under test, and its events."""

    def __init__(self, plan: FleetPlan, home: Home, source: DoubleSource) -> None:
        self.said: list[events.AnyEvent] = []
        self.home = home
        self.source = source
        self._news = asyncio.Event()
        self.supervisor = FleetSupervisor(plan, home, source, self._hear, DOUBLE)
        self.run = asyncio.create_task(self.supervisor.run())
        self.run.add_done_callback(lambda _: self._news.set())

    def _hear(self, event: events.AnyEvent) -> None:
        self.said.append(event)
        self._news.set()

    async def until(self, kind: type[events.Event]) -> events.Event:
        async with asyncio.timeout(DEADLINE_S):
            while not (found := [event for event in self.said if isinstance(event, kind)]):
                assert not self.run.done(), f"ended before {kind.__name__}: {self.run}"
                self._news.clear()
                await self._news.wait()
        return found[0]

    async def stop(self) -> None:
        self.supervisor.request_stop("the test")
        await asyncio.wait_for(self.run, DEADLINE_S)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    return Home.from_environment({"REMUDA_HOME": str(tmp_path)})


@contextlib.asynccontextmanager
async def ready_fleet(
    home: Home, source: DoubleSource, *names: str, replicas: int = 1
) -> AsyncIterator[tuple[Fleet, events.Ready]]:
    fleet = Fleet(plan_of(*names, replicas=replicas), home, source)
    ready = await fleet.until(events.Ready)
    assert isinstance(ready, events.Ready)
    yield fleet, ready
    await fleet.stop()


def told(home: Home) -> list[dict[str, Any]]:
    """What the gateway process was told."""
    return [json.loads(line) for line in (home.state.parent / "said").read_text().splitlines()]


def tables(home: Home) -> list[Table]:
    return [msgspec.convert(message["table"], Table) for message in told(home) if "table" in message]


async def test_a_fleet_starts_answers_serves_and_leaves_nothing(home: Home) -> None:
    source = DoubleSource()
    async with ready_fleet(home, source, "demo", replicas=2) as (fleet, ready):
        assert ready.models == ("demo",)
        assert events.AnswerText(text="Hello.") in fleet.said
        record = read_record(home.state)
        assert record is not None
        assert (record.pid, record.url) == (os.getpid(), ready.url)
    assert isinstance(fleet.said[-1], events.Stopped)
    assert not is_claimed(home.state)
    assert sorted(path.name for path in home.state.iterdir()) == ["fleet.lock"]
    assert [engine.cut for engine in source.engines.values()] == [False, False]
    assert [endpoint.id for endpoint in tables(home)[-1].models[0].endpoints] == ["demo-0", "demo-1"]


async def test_status_has_engines_gateway_and_outcomes(home: Home) -> None:
    async with ready_fleet(home, DoubleSource(), "demo"):
        snapshot = await asyncio.to_thread(control.ask_status, home.state)
        assert (snapshot.phase, snapshot.gateway.state, snapshot.gateway.auth) == ("serving", "listening", "open")
        assert snapshot.gateway.requests == {"completed": 7}
        assert [(e.id, e.state, e.kv_tokens, e.running) for e in snapshot.engines] == [("demo-0", "ready", 1024, None)]


async def test_a_fault_in_reading_the_tenants_is_logged_and_tried_again(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, faults = TenantStore.watch, iter([True])

    def watch(store: TenantStore) -> AsyncIterator[object]:
        if next(faults, False):
            raise LookupError("a fault")
        return real(store)

    monkeypatch.setattr(TenantStore, "watch", watch)
    monkeypatch.setattr("remuda.fleet.supervisor.RETRY_S", 0.0)
    store = TenantStore.of_machine(home.state)
    async with ready_fleet(home, DoubleSource(), "demo"):
        store.create("acme", ("demo",), None, 0.0)
        await asyncio.to_thread(wait_for_keys, home)
    assert [record.message for record in caplog.records] == ["the keys of `remuda tenant` could not be followed"]


def wait_for_keys(home: Home, *, there_are: bool = True) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    said = home.state.parent / "said"  # a fleet can be ready before its gateway has written down the first table
    while not said.exists() or bool(tables(home)[-1].keys) is not there_are:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


async def test_keys_made_while_the_fleet_runs_reach_the_gateway(home: Home) -> None:
    store = TenantStore.of_machine(home.state)
    async with ready_fleet(home, DoubleSource(), "demo"):
        store.create("acme", ("demo",), None, 0.0)
        await asyncio.to_thread(wait_for_keys, home)
    assert tables(home)[0].keys == ()
    assert tables(home)[-1].keys == store.read_keys().records
    assert len(tables(home)[-1].models[0].endpoints) == 1


async def test_fleet_that_asked_for_keys_asks_for_them_when_none_is_left(home: Home) -> None:
    store = TenantStore.of_machine(home.state)
    async with ready_fleet(home, DoubleSource(), "demo") as (fleet, _):
        store.create("acme", (), None, 0.0)
        await asyncio.to_thread(wait_for_keys, home)
        store.revoke("acme")
        await asyncio.to_thread(wait_for_keys, home, there_are=False)
        store.path.unlink()
        assert (await asyncio.to_thread(control.ask_status, home.state)).gateway.auth == "keys"
        assert fleet.supervisor._asks_for_keys
    first, *_, last = tables(home)
    assert (first.keys_wanted, last.keys_wanted) == (False, True)


async def test_fleet_that_starts_after_the_last_key_was_revoked_asks_for_keys(home: Home) -> None:
    store = TenantStore.of_machine(home.state)
    store.create("acme", (), None, 0.0)
    store.revoke("acme")
    fleet = Fleet(replace(plan_of("demo"), stored_keys=store.read_keys()), home, DoubleSource())
    ready = await fleet.until(events.Ready)
    await fleet.stop()
    assert isinstance(ready, events.Ready)
    assert ready.needs_key
    assert {table.keys_wanted for table in tables(home)} == {True}


async def test_open_fleet_asks_for_no_keys_whatever_was_made(home: Home) -> None:
    store = TenantStore.of_machine(home.state)
    store.create("acme", (), None, 0.0)
    plan = replace(
        plan_of("demo"),
        settings=GatewaySettings(listen=Listen(port=0), auth=Auth(mode="open")),
        stored_keys=store.read_keys(),
    )
    fleet = Fleet(plan, home, DoubleSource())
    ready = await fleet.until(events.Ready)
    await fleet.stop()
    assert isinstance(ready, events.Ready)
    assert not ready.needs_key


REASONS = {
    "expected": (InstallError("the disk filled up", "free some space"), "the disk filled up (free some space)"),
    "of the system": (
        OSError(24, "Too many open files"),
        "too many open files (raise the limit of open files: ulimit -n 65536)",
    ),
    "a fault": (
        AttributeError("'str' object with the password open-sesame has no attribute 'get'"),
        "a fault in Remuda (AttributeError) (report it with the traceback in the fleet's log)",
    ),
}


@pytest.mark.parametrize(("error", "reason"), REASONS.values(), ids=REASONS)
@pytest.mark.parametrize("when", ["prepare", "build", "run"])
async def test_a_model_that_cannot_run_leaves_the_others_alone(
    home: Home, when: str, error: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = DoubleSource(faults={(when, "broken"): error})
    async with ready_fleet(home, source, "broken", "demo") as (fleet, ready):
        assert ready.models == ("demo",)
        assert ready.failed == (f"broken-0: {reason}",)
        assert not fleet.run.done()
    assert tables(home)[-1].models[0].waiting == f"failed: {reason}"
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert logged == ([] if isinstance(error, InstallError) else [error])


async def test_a_fault_in_the_first_answer_does_not_stop_the_fleet(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("choices")

    monkeypatch.setattr("remuda.fleet.chat_client.stream_answer", fail)
    async with ready_fleet(home, DoubleSource(), "demo") as (fleet, ready):
        assert ready.models == ("demo",)
        assert events.AnswerEnd(problem="a fault in Remuda (KeyError)") in fleet.said


@pytest.mark.parametrize("fate", [EngineState.FAILED, EngineState.CRASH_LOOP])
async def test_a_fleet_without_an_engine_that_can_run_ends_with_the_reason(home: Home, fate: EngineState) -> None:
    fleet = Fleet(plan_of("demo"), home, DoubleSource({"demo-0": fate}))
    with pytest.raises(FleetError) as caught:
        await asyncio.wait_for(fleet.run, DEADLINE_S)
    assert caught.value.message == "demo-0 cannot run: as told"
    assert not is_claimed(home.state)


async def test_an_engine_that_dies_leaves_the_table_and_comes_back(home: Home) -> None:
    source = DoubleSource()
    async with ready_fleet(home, source, "demo", replicas=2) as (fleet, _):
        source.engines["demo-1"].become(EngineState.BACKOFF, "killed by SIGKILL")
        assert fleet.said[-1] == events.Step(
            id="demo-1", title="demo-1", state=events.StepState.WARNED, detail="backoff: killed by SIGKILL"
        )
        source.engines["demo-1"].become(EngineState.READY)
    routed = [[endpoint.id for endpoint in table.models[0].endpoints] for table in tables(home)]
    assert ["demo-0"] in routed
    assert routed[-1] == ["demo-0", "demo-1"]


async def test_a_second_fleet_is_refused_and_the_first_goes_on(home: Home) -> None:
    async with ready_fleet(home, DoubleSource(), "demo") as (fleet, ready):
        second = Fleet(plan_of("demo"), home, DoubleSource())
        with pytest.raises(FleetRunningError) as caught:
            await second.run
        assert caught.value.message == f"a fleet is already running: process {os.getpid()} at {ready.url}"
        assert not fleet.run.done()


async def test_a_gateway_that_is_killed_comes_back(home: Home) -> None:
    async with ready_fleet(home, DoubleSource(), "demo") as (fleet, ready):
        gateway = fleet.supervisor._gateway
        assert gateway.status.pid
        os.kill(gateway.status.pid, signal.SIGKILL)
        async with asyncio.timeout(DEADLINE_S):
            while gateway.status.restarts == 0 or gateway.status.state is not GatewayState.LISTENING:
                fleet._news.clear()
                await fleet._news.wait()
        assert fleet.supervisor.url == ready.url


async def test_a_second_signal_kills_the_engines(home: Home) -> None:
    source = DoubleSource({"demo-0": EngineState.DRAINING, "demo-1": EngineState.READY})
    fleet = Fleet(plan_of("demo", replicas=2), home, source)
    async with asyncio.timeout(DEADLINE_S):
        while len(source.engines) < 2:
            await fleet._news.wait()
            fleet._news.clear()
    fleet.supervisor.interrupt("Ctrl-C")
    await fleet.until(events.Stopping)
    fleet.supervisor.interrupt("Ctrl-C")
    await asyncio.wait_for(fleet.run, DEADLINE_S)
    assert source.engines["demo-0"].cut


async def test_gateway_may_take_its_lame_duck_time_and_its_time_to_drain(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = GatewaySettings(listen=Listen(port=0), timeouts=Timeouts(lame_duck_s=7.0, drain_s=30.0))
    fleet = Fleet(replace(plan_of("demo"), settings=settings), home, DoubleSource())
    await fleet.until(events.Ready)
    gateway = fleet.supervisor._gateway
    drain, given = gateway.drain, []

    async def note(timeout_s: float) -> None:
        given.append(timeout_s)
        await drain(timeout_s)

    monkeypatch.setattr(gateway, "drain", note)
    await fleet.stop()
    assert given == [37.0]


async def test_down_reports_events_until_the_fleet_has_stopped(home: Home) -> None:
    fleet = Fleet(plan_of("demo"), home, DoubleSource())
    await fleet.until(events.Ready)
    told = await asyncio.to_thread(lambda: list(control.ask_down(home.state, cut=False)))
    await asyncio.wait_for(fleet.run, DEADLINE_S)
    assert told[0] == events.Stopping(reason="`remuda down`")
    assert isinstance(told[-1], events.Stopped)


async def test_a_fleet_that_is_stopped_while_it_starts_leaves_nothing(home: Home) -> None:
    fleet = Fleet(plan_of("demo"), home, DoubleSource({"demo-0": EngineState.STARTING}))
    await fleet.until(events.Step)
    await fleet.stop()
    assert not any(isinstance(event, events.Ready) for event in fleet.said)
    assert not is_claimed(home.state)


async def test_repeated_requests_without_cut_do_not_kill_engines(home: Home) -> None:
    source = DoubleSource({"demo-0": EngineState.DRAINING, "demo-1": EngineState.READY})
    fleet = Fleet(plan_of("demo", replicas=2), home, source)
    async with asyncio.timeout(DEADLINE_S):
        while len(source.engines) < 2:
            await fleet._news.wait()
            fleet._news.clear()
    for _ in range(3):
        fleet.supervisor.request_stop("`remuda down`")
    await fleet.until(events.Stopping)
    assert not fleet.supervisor._cut.is_set()
    fleet.supervisor.request_stop("`remuda down --cut`", cut=True)
    await asyncio.wait_for(fleet.run, DEADLINE_S)


async def test_status_and_clients_see_what_an_engine_waits_for(home: Home) -> None:
    source = DoubleSource()
    source.installing = asyncio.Event()
    fleet = Fleet(plan_of("demo"), home, source)
    assert fleet.supervisor._statuses == {}
    await fleet.until(events.Step)
    async with asyncio.timeout(DEADLINE_S):
        while not source.installing or "torch" not in fleet.supervisor._statuses["demo-0"].reason:
            fleet._news.clear()
            await fleet._news.wait()
    (engine,) = (await asyncio.to_thread(control.ask_status, home.state)).engines
    assert (engine.state, engine.reason) == ("waiting", "vLLM 0.32.0: downloading torch")
    assert engine.since > 0
    source.installing.set()
    await fleet.until(events.Ready)
    await fleet.stop()
    waits = [table.models[0].waiting for table in tables(home)]
    waits += [message["waiting"]["models"]["demo"] for message in told(home) if "waiting" in message]
    assert "waiting: vLLM 0.32.0: downloading torch" in waits


async def test_progress_of_a_start_is_no_new_table(home: Home) -> None:
    source = DoubleSource({"demo-0": EngineState.STARTING})
    fleet = Fleet(plan_of("demo"), home, source)
    async with asyncio.timeout(DEADLINE_S):
        await fleet.supervisor._listening.wait()
        while "demo-0" not in source.engines or source.engines["demo-0"].status.reason != "as told":
            fleet._news.clear()
            await fleet._news.wait()
    engine = source.engines["demo-0"]
    for percent in (10, 10, 20):
        engine.become(EngineState.STARTING, f"loading weights: {percent} %")
    engine.become(EngineState.READY)
    await fleet.until(events.Ready)
    await fleet.stop()
    *_, first, second, last = [message for message in told(home) if "figures" not in message]
    assert first == {"waiting": {"models": {"demo": "starting: loading weights: 10 %"}}}
    assert second == {"waiting": {"models": {"demo": "starting: loading weights: 20 %"}}}
    (model,) = msgspec.convert(last["table"], Table).models
    assert ([endpoint.id for endpoint in model.endpoints], model.waiting) == (["demo-0"], "")


async def test_stopping_waits_until_the_installer_has_cleaned_up(home: Home) -> None:
    source = DoubleSource()
    source.installing = asyncio.Event()
    fleet = Fleet(plan_of("demo"), home, source)
    await fleet.until(events.Step)
    await fleet.stop()
    assert source.cleaned_up
