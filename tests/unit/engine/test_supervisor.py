"""The life of an engine under supervision, with a double of vLLM. tests/engine uses the real one."""

import asyncio
import contextlib
import dataclasses
import errno
import os
import pkgutil
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from remuda.engine.diagnosis.hangs import WatchSettings
from remuda.engine.log import EngineLog
from remuda.engine.process import Command, EngineProcess
from remuda.engine.restarts import BackoffSettings
from remuda.engine.status import EngineFacts, EngineState, EngineStatus
from remuda.engine.supervisor import EngineSupervisor, SupervisorSettings
from remuda.machine import processes
from remuda.machine.cgroups import ControlGroup, find_parent
from remuda.machine.processes import fetch_process_id, is_alive

needs_cgroups = pytest.mark.skipif(find_parent() is None, reason="this process may make no control groups (cgroup v2)")
QUICK = SupervisorSettings(BackoffSettings(first_s=0.01, longest_s=0.05), WatchSettings(sample_s=0.05))


class Life:
    """An engine under supervision, and every status it reported."""

    def __init__(self, plan, settings=QUICK, **options) -> None:
        self.mark = plan.env["FAKE_MARK"]
        self.said: list[EngineStatus] = []
        self._changed = asyncio.Event()
        self.engine = EngineSupervisor(plan, self._hear, settings, **options)
        self.task = asyncio.create_task(self.engine.run())

    def _hear(self, status: EngineStatus) -> None:
        self.said.append(status)
        self._changed.set()

    async def until(self, state: EngineState) -> EngineStatus:
        return await self.until_that(lambda status: status.state is state)

    async def until_that(self, holds) -> EngineStatus:
        async with asyncio.timeout(20):
            while not holds(self.engine.status):
                self._changed.clear()
                await self._changed.wait()
        return self.engine.status

    @property
    def states(self) -> list[EngineState]:
        states = [status.state for status in self.said]
        return [state for i, state in enumerate(states) if i == 0 or states[i - 1] is not state]


@contextlib.asynccontextmanager
async def living(plan, settings=QUICK):
    life = Life(plan, settings)
    try:
        yield life
    finally:
        await life.engine.stop()
        await life.task
        pids = {status.pid for status in life.said if status.pid}
        assert [pid for pid in pids if processes.find_group(pid)] == []


async def test_an_engine_is_ready_after_a_real_answer_and_its_status_has_its_facts(make_plan):
    async with living(make_plan("serves")) as life:
        status = await life.until(EngineState.READY)
        assert status.facts == EngineFacts(kv_tokens=768, max_model_len=2048, version="0.32.0")
        assert life.states == [EngineState.STARTING, EngineState.READY]
        reasons = [said.reason for said in life.said]
        assert "loading weights" in reasons
        assert any(said.progress == 0.5 for said in life.said)
    assert life.engine.status.state is EngineState.STOPPED
    assert life.engine.status.pid is None


async def test_listening_without_a_token_is_not_ready(make_plan):
    async with living(make_plan("no-token", startup_timeout_s=1.0)) as life:
        status = await life.until(EngineState.BACKOFF)
        assert "not ready after 1 s" in status.reason
        assert EngineState.READY not in life.states


async def test_an_engine_that_serves_other_names_has_failed_and_is_not_started_again(make_plan):
    async with living(make_plan("serves", FAKE_NAMES="other")) as life:
        status = await life.until(EngineState.FAILED)
        await life.task
        assert status.reason.startswith("it serves other, but not fake (served names follow metadata.name, ")
        assert life.states == [EngineState.STARTING, EngineState.FAILED]


@contextlib.asynccontextmanager
async def foreign_server(plan, **env):
    """Another process that answers on the engine's port as vLLM does."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        foreign = await asyncio.create_subprocess_exec(
            *plan.argv,
            env={**plan.env, "VLLM_RPC_BASE_PATH": folder, **env},
            stdout=asyncio.subprocess.PIPE,
        )
        async for line in foreign.stdout:
            if b"startup complete" in line:
                break
        yield foreign
        foreign.kill()
        await foreign.wait()


@pytest.mark.parametrize("names", ["fake", "foreign"], ids=["the right names", "other names"])
async def test_another_server_on_the_engines_port_is_left_alone_and_the_engine_gets_another_port(make_plan, names):
    plan = make_plan("late")
    async with foreign_server(plan, FAKE_NAMES=names) as foreign:
        async with living(plan) as life:
            status = await life.until(EngineState.READY)
            assert status.port != plan.port
            assert status.restarts == 0
            assert life.states == [EngineState.STARTING, EngineState.READY]
        assert foreign.returncode is None
        said = f"another server answers on port {plan.port}: process {foreign.pid} ({sys.executable} "
        assert said in plan.log_path.read_text()


MODELS = {
    "strings": '{"data": ["fake"]}',
    "no list": '{"data": {"id": "fake"}}',
    "no id": '{"data": [{"max_model_len": 2048}]}',
    "a number as id": '{"data": [{"id": 7}]}',
    "a length that is no number": '{"data": [{"id": "fake", "max_model_len": "2048"}]}',
    "a huge length": '{"data": [{"id": "fake", "max_model_len": 1e400}]}',
    "no object": "[1, 2]",
    "nested": "[" * 100_000,
    "no JSON": "<html>",
    "no text": "\\xff\\xfe",
}


@pytest.mark.parametrize("body", MODELS.values(), ids=MODELS)
async def test_an_engine_whose_models_have_another_form_is_not_ready(make_plan, tmp_path, body):
    (tmp_path / "models").write_text(body)
    plan = make_plan("serves", startup_timeout_s=1.0, FAKE_MODELS=str(tmp_path / "models"))
    async with living(plan) as life:
        status = await life.until(EngineState.BACKOFF)
        assert status.reason.startswith("it was not ready after 1 s (last stage: asking for a first token)")
        assert "fault in Remuda" not in status.reason


@pytest.mark.parametrize("where", ["readiness", "hang watch", "start", "observer"])
async def test_a_fault_of_our_own_ends_one_run_and_the_engine_is_restarted(make_plan, monkeypatch, where):
    """An unexpected error anywhere in the supervision of one engine."""
    faults = iter([True])

    def fail_once(real):
        def call(*arguments, **fields):
            if next(faults, False):
                raise LookupError("the secret is correct-horse")
            return real(*arguments, **fields)

        return call

    name = {
        "readiness": "remuda.engine.run.wait_until_ready",
        "hang watch": "remuda.engine.diagnosis.hangs.decide_hung",
        "start": "remuda.engine.supervisor.own_scratch",
        "observer": None,
    }[where]
    plan = dataclasses.replace(make_plan("serves"), secrets=frozenset({"correct-horse"}))
    if name is None:
        monkeypatch.setattr(Life, "_hear", fail_once(Life._hear))
    else:
        monkeypatch.setattr(name, fail_once(pkgutil.resolve_name(name)))
    async with living(plan) as life:
        restarts = 0 if where == "observer" else 1
        await life.until_that(lambda status: status.state is EngineState.READY and status.restarts == restarts)
        reasons = [status.reason for status in life.said if status.state is EngineState.BACKOFF]
        said = (
            "a fault in Remuda (LookupError) (report it with the traceback in the engine's log); starting again in 0 s"
        )
        assert reasons == [said] * restarts
    log = plan.log_path.read_text()
    assert "remuda: Traceback (most recent call last):" in log
    assert "remuda: LookupError: the secret is ***" in log
    assert "correct-horse" not in log


async def test_a_start_that_takes_too_long_names_its_last_stage(make_plan):
    async with living(make_plan("hangs", startup_timeout_s=0.3)) as life:
        status = await life.until(EngineState.BACKOFF)
        assert "last stage: starting Python" in status.reason


async def test_an_engine_that_exits_by_itself_with_status_0_has_crashed_and_is_restarted(make_plan):
    async with living(make_plan("dies-after-ready")) as life:
        await life.until(EngineState.READY)
        status = await life.until(EngineState.BACKOFF)
        assert "it exited by itself" in status.reason
        status = await life.until(EngineState.READY)
        assert status.restarts >= 1


async def test_processes_that_a_dead_engine_left_are_killed(make_plan):
    async with living(make_plan("leaves-a-child")) as life:
        ready = await life.until(EngineState.READY)
        await life.until(EngineState.BACKOFF)
        assert processes.find_group(ready.pid) == []


@pytest.mark.parametrize("end", ["stop", "drain", "crash", "cancel"])
async def test_the_sockets_of_an_engine_are_removed_when_it_ends(make_plan, end):
    behaviour = "dies-after-ready" if end == "crash" else "serves"
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # pytest's own paths are too long for sockets
        plan = dataclasses.replace(make_plan(behaviour), scratch_path=Path(short))
        life = Life(plan, dataclasses.replace(QUICK, backoff=BackoffSettings(first_s=60)))
        await life.until(EngineState.READY)
        (name,) = os.listdir(short)
        assert len(os.listdir(f"{short}/{name}")) == 2, "the lock and its socket"
        if end == "crash":
            await life.until(EngineState.BACKOFF)
            assert os.listdir(short) == []
        if end == "cancel":
            life.task.cancel()
        else:
            await (life.engine.drain() if end == "drain" else life.engine.stop())
        await asyncio.gather(life.task, return_exceptions=True)
        assert os.listdir(short) == []


@needs_cgroups
async def test_a_process_that_left_the_process_group_of_its_engine_ends_with_it(make_plan):
    """The kernel's own control group ends it; find_group and killpg cannot see it."""
    groups = find_parent()
    life = Life(make_plan("leaves-an-escaped-child"), make_group=groups.create)
    await life.until(EngineState.READY)
    escaped = fetch_process_id(read_number(life.mark))
    await life.until(EngineState.BACKOFF)
    assert not is_alive(escaped)
    await life.engine.stop()
    await life.task
    assert list(groups._path.glob(f"remuda.{os.getpid()}.*")) == []


async def test_a_kill_for_lack_of_memory_is_named_from_the_engines_own_count(make_plan, tmp_path):
    """A folder stands in for the kernel's group: `memory.events` says that the kernel killed one of its processes."""

    def make_group(name: str) -> ControlGroup:
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        (path / "memory.events").write_text("oom 1\noom_kill 1\n")
        return DoubleGroup(path)

    life = Life(make_plan("killed"), make_group=make_group)
    status = await life.until(EngineState.BACKOFF)
    await life.engine.stop()
    await life.task
    assert status.reason.startswith("out of memory: the kernel killed a process of the engine (lower kvCacheMemory")


def read_number(path: str) -> int:
    return int(Path(path).read_text())


class DoubleGroup(ControlGroup):
    """Holds the files of a group, and no processes."""

    def add_tree(self, pid: int) -> bool:
        return True

    def remove(self) -> bool:
        shutil.rmtree(self.path, ignore_errors=True)
        return True


async def test_an_engine_runs_without_a_group_when_the_kernel_refuses_to_move_it(make_plan, tmp_path):
    life = Life(make_plan("serves"), make_group=lambda _: ControlGroup(tmp_path / "group"))
    await life.until(EngineState.READY)
    await life.engine.stop()
    await life.task
    assert life.states == [EngineState.STARTING, EngineState.READY, EngineState.STOPPED]


async def test_a_crash_loop_is_named_with_the_last_meaningful_line(make_plan):
    said = "Traceback (most recent call last):\n  File x\nRuntimeError: the frobnicator is missing"
    async with living(make_plan("says", FAKE_SAYS=said)) as life:
        status = await life.until(EngineState.CRASH_LOOP)
        assert "died 3 times in a row" in status.reason
        assert "RuntimeError: the frobnicator is missing" in status.reason
        assert status.restarts == 3


async def test_out_of_memory_is_reported_with_the_settings_to_change(make_plan):
    said = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    async with living(make_plan("says", FAKE_SAYS=said)) as life:
        status = await life.until(EngineState.BACKOFF)
        assert status.reason.startswith("out of memory: the GPU's memory is full")
        assert "gpuMemoryUtilization" in status.reason


async def test_an_engine_with_wrong_arguments_is_not_restarted(make_plan):
    said = "api_server: error: unrecognized arguments: --frobnicate"
    async with living(make_plan("says", FAKE_SAYS=said, FAKE_STATUS="2")) as life:
        status = await life.until(EngineState.FAILED)
        await life.task
        assert "--frobnicate" in status.reason
        assert life.states == [EngineState.STARTING, EngineState.FAILED]


async def test_an_engine_whose_port_is_taken_gets_another_one_and_that_is_no_death(make_plan):
    plan = make_plan("port-taken")
    async with living(plan) as life:
        status = await life.until(EngineState.READY)
        assert status.port != plan.port
        assert status.restarts == 0


async def test_a_signal_that_ends_an_engine_is_named(make_plan):
    async with living(make_plan("killed")) as life:
        status = await life.until(EngineState.BACKOFF)
        assert "killed while starting by SIGKILL" in status.reason


async def test_a_drained_engine_ends(make_plan):
    async with living(make_plan("serves")) as life:
        await life.until(EngineState.READY)
        await life.engine.drain()
        assert life.states[-2:] == [EngineState.DRAINING, EngineState.STOPPED]
        assert life.task.done() or await life.task is None


async def test_an_engine_that_does_not_drain_is_killed_after_the_timeout(make_plan, monkeypatch):
    monkeypatch.setattr("remuda.engine.supervisor.DRAIN_GRACE_S", 0.1)
    async with living(make_plan("never-drains", drain_timeout_s=0.1)) as life:
        await life.until(EngineState.READY)
        async with asyncio.timeout(5):
            await life.engine.drain()
        assert life.engine.status.state is EngineState.STOPPED
        assert "drain timeout is over" in life.engine._plan.log_path.read_text()


@pytest.mark.parametrize("when", [EngineState.STARTING, EngineState.BACKOFF])
async def test_an_engine_can_be_stopped_while_it_starts_and_while_it_waits(make_plan, when):
    behaviour = "hangs" if when is EngineState.STARTING else "killed"
    slow = dataclasses.replace(QUICK, backoff=BackoffSettings(first_s=60))
    async with living(make_plan(behaviour), slow) as life:
        await life.until(when)
        async with asyncio.timeout(5):
            await life.engine.stop()
            await life.task
        assert life.engine.status.state is EngineState.STOPPED


async def test_an_engine_that_was_never_started_can_be_drained_and_stopped(make_plan):
    engine = EngineSupervisor(make_plan("serves"))
    await engine.drain()
    await engine.stop()
    assert engine.status.state is EngineState.STOPPED


async def test_cancelling_the_supervisor_ends_the_engine(make_plan):
    life = Life(make_plan("serves"))
    ready = await life.until(EngineState.READY)
    life.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await life.task
    assert processes.find_group(ready.pid) == []


async def test_secrets_are_not_in_the_log(make_plan):
    plan = make_plan("says", FAKE_SAYS="my key is correct-horse and hf_abcdefghijklmnopqrstuv")
    async with living(dataclasses.replace(plan, secrets=frozenset({"correct-horse"}))) as life:
        await life.until(EngineState.BACKOFF)
    log = plan.log_path.read_text()
    assert "my key is *** and hf_***" in log
    assert "correct-horse" not in log
    assert plan.log_path.stat().st_mode & 0o077 == 0


async def test_an_engine_that_is_stopped_while_its_process_is_created_ends(make_plan, monkeypatch):
    starting, go_on = asyncio.Event(), asyncio.Event()
    real = EngineProcess.start

    async def slowly(*arguments):
        process = await real(*arguments)
        starting.set()
        await go_on.wait()
        return process

    monkeypatch.setattr(EngineProcess, "start", slowly)
    async with living(make_plan("hangs")) as life:
        await starting.wait()
        stopping = asyncio.create_task(life.engine.stop())
        await asyncio.sleep(0)
        go_on.set()
        async with asyncio.timeout(5):
            await stopping
        assert life.engine.status.state is EngineState.STOPPED


async def test_a_cancelled_start_closes_its_pipe(make_plan):
    before = len(os.listdir("/proc/self/fd"))
    plan = make_plan("hangs")
    for _ in range(5):
        starting = asyncio.create_task(EngineProcess.start(Command(plan.argv, plan.env), EngineLog(plan.log_path)))
        await asyncio.sleep(0)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            process = await starting
            process.kill()
            await process.wait()
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # asyncio's own watcher of children


async def test_an_engine_that_cannot_be_started_has_failed_and_says_why(make_plan):
    plan = dataclasses.replace(make_plan("serves"), argv=("/nowhere/python", "--port", "1"))
    async with living(plan) as life:
        status = await life.until(EngineState.FAILED)
        assert "/nowhere/python: No such file" in status.reason
        assert "remuda engine install --repair" in status.reason


async def test_an_engine_that_was_ready_once_is_restarted_when_the_system_refuses_a_process(make_plan, monkeypatch):
    async with living(make_plan("dies-after-ready")) as life:
        await life.until(EngineState.READY)
        with monkeypatch.context() as full:
            full.setattr("asyncio.create_subprocess_exec", refuse)
            await life.until_that(lambda status: "try again later" in status.reason)
        await life.until(EngineState.READY)


async def refuse(*_, **__):
    raise BlockingIOError(errno.EAGAIN, "try again later")


async def test_a_wrong_wall_clock_does_not_matter(make_plan, monkeypatch):
    settings = dataclasses.replace(QUICK, backoff=BackoffSettings(first_s=0.01, longest_s=0.05, good_run_s=0.1))
    monkeypatch.setattr("remuda.engine.supervisor.time.time", lambda: 0.0)
    async with living(make_plan("dies-after-ready"), settings) as life:
        await life.until_that(lambda status: status.restarts >= 4)
        assert EngineState.CRASH_LOOP not in life.states
