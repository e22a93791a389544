"""One engine under heavy load, stopped and killed: a hung engine is replaced, a busy one is not, nothing is left."""

import asyncio
import os
import signal

import pytest
import pytest_asyncio
from tests.engine.running import Running, make_document, make_model, poll

from remuda.engine.diagnosis.hangs import WatchSettings
from remuda.engine.restarts import BackoffSettings
from remuda.engine.scratch import SHM_PREFIX_VARIABLE
from remuda.engine.status import EngineState, EngineStatus
from remuda.engine.supervisor import SupervisorSettings
from remuda.machine import processes
from remuda.machine.cgroups import find_parent
from remuda.policy.hung import HungLimits

pytestmark = pytest.mark.asyncio(loop_scope="session")
FROZEN_S = 3.0
QUICK = SupervisorSettings(
    backoff=BackoffSettings(first_s=0.2),
    watch=WatchSettings(sample_s=0.5, probe_every_s=1.0, probe_timeout_s=2.0, limits=HungLimits(frozen_s=FROZEN_S)),
)
BUSY_S = 4 * FROZEN_S
"""How long one step works without a sign of progress, about."""
TRIAL_TOKENS, MOST_TOKENS = 4_000, 32_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def victim(launch, installation, tmp_path_factory):
    """A random model on one core, heavy enough that one prompt can be one step of many seconds."""
    folder = await asyncio.to_thread(make_model, installation, tmp_path_factory.mktemp("heavy"), 512, 6, 32_768)
    model = make_document(
        "heavy",
        folder,
        {"hardware": {"gpu": "none", "cpu": "1"}},
        maxModelLen=32_768,
        maxNumBatchedTokens=32_768,
        kvCacheMemory="512Mi",
        prefixCaching=False,
    )
    running = launch(model, settings=QUICK)
    await running.until_ready()
    return running


def core_of(status: EngineStatus) -> int:
    """The engine core among the descendants of the API process."""
    stats = [processes.read_stat(pid) for pid in processes.find_descendants(status.pid)]
    return next(stat.pid for stat in stats if stat and "EngineCor" in stat.name)


def environment_of(status: EngineStatus) -> dict[str, str]:
    with open(f"/proc/{status.pid}/environ") as file:
        return dict(entry.split("=", 1) for entry in file.read().split("\0") if "=" in entry)


def places_of(status: EngineStatus) -> tuple[str, str]:
    """The engine's own folder, and what its names in /dev/shm begin with."""
    env = environment_of(status)
    return env["VLLM_RPC_BASE_PATH"], env[SHM_PREFIX_VARIABLE]


def group_of(pid: int) -> str:
    """The control group (cgroup v2) of a process."""
    with open(f"/proc/{pid}/cgroup") as file:
        return next((line.strip().removeprefix("0::") for line in file if line.startswith("0::")), "")


async def test_all_processes_of_an_engine_are_in_a_control_group_of_its_own(victim):
    if find_parent() is None:
        pytest.skip("this process may make no control groups (cgroup v2)")
    pids = [victim.status.pid, *processes.find_descendants(victim.status.pid)]
    (group,) = {group_of(pid) for pid in pids}
    assert group.endswith(".heavy-0")
    assert group != group_of(os.getpid())
    assert len(pids) >= 2, "an API process and its core at least"


async def until_replaced(victim: Running, old: EngineStatus) -> list[EngineStatus]:
    """Wait for the next process to be ready; what was said on the way. Nothing of the old one may be left."""
    began = len(victim.history)
    await victim.until(lambda status: status.state is EngineState.READY and status.pid != old.pid)
    assert processes.find_group(old.pid) == []
    assert await victim.text("again", max_tokens=2)
    return victim.history[began:]


async def measure_prefill_s(victim: Running, tokens: int) -> float:
    clock = asyncio.get_running_loop()
    began_at = clock.time()
    await victim.complete("x" * tokens, max_tokens=1)
    return clock.time() - began_at


async def pick_prompt_tokens(victim: Running) -> int:
    """The length of a prompt that takes about BUSY_S on this machine: its time grows with the power 1.5, about."""
    trial_s = min([await measure_prefill_s(victim, TRIAL_TOKENS) for _ in range(2)])
    return min(MOST_TOKENS, round(TRIAL_TOKENS * (BUSY_S / trial_s) ** (1 / 1.5)))


async def test_a_long_prefill_under_load_is_not_taken_for_hung(victim):
    assert environment_of(victim.status)["OMP_NUM_THREADS"] == "1", "the cores of the machine do not matter"
    before = victim.status
    took_s = await measure_prefill_s(victim, await pick_prompt_tokens(victim))
    assert took_s > 1.5 * FROZEN_S, "the prompt was not long enough to prove anything"
    assert victim.status == before


async def test_a_stopped_core_is_found_hung_and_replaced_although_its_health_route_says_200(victim):
    old = victim.status
    core = core_of(old)
    os.kill(core, signal.SIGSTOP)
    said = await until_replaced(victim, old)
    assert said[0].state is EngineState.BACKOFF
    assert "hung" in said[0].reason
    assert victim.status.restarts == old.restarts + 1


async def test_a_core_that_is_stopped_with_running_requests_is_replaced(victim):
    old = victim.status
    request = asyncio.create_task(victim.complete("z" * 64, max_tokens=4000, ignore_eos=True))
    await poll(lambda: victim.metric("vllm:num_requests_running"), 30)
    os.kill(core_of(old), signal.SIGSTOP)
    said = await until_replaced(victim, old)
    assert "requests are running" in said[0].reason
    with pytest.raises(Exception, match=r"disconnected|closed|reset"):
        await request


async def test_a_killed_core_is_a_crash_although_vllm_exits_with_status_0(victim):
    old = victim.status
    os.kill(core_of(old), signal.SIGKILL)
    said = await until_replaced(victim, old)
    assert "it exited by itself (its core is gone)" in said[0].reason
    assert victim.status.restarts == old.restarts + 1


async def test_a_killed_api_process_takes_its_core_sockets_and_semaphores_with_it(victim):
    old = victim.status
    folder, prefix = places_of(old)
    group = os.path.basename(group_of(old.pid))
    assert os.listdir(folder), "vLLM binds its sockets here"
    os.kill(old.pid, signal.SIGKILL)
    await victim.until(lambda status: status.state is not EngineState.READY, 10)
    assert "SIGKILL" in victim.status.reason
    assert processes.find_group(old.pid) == []
    assert not os.path.exists(folder)  # noqa: ASYNC240
    assert [name for name in os.listdir("/dev/shm") if prefix in name] == []
    await victim.engine.stop()
    assert victim.status.state is EngineState.STOPPED
    parent = find_parent()
    assert parent is None or group not in os.listdir(parent._path)
