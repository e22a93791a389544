"""kill -9 of the process that supervises an engine: nothing of the engine outlives it."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.engine.running import poll

from remuda.machine import processes

pytestmark = pytest.mark.asyncio(loop_scope="session")
REPOSITORY = Path(__file__).parents[2]
DYING_S = 5.0


async def start_supervisor(home, small_model, tmp_path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        Path(__file__).with_name("supervise_one.py"),
        small_model,
        tmp_path,
        home.engines,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'src'}"},
    )


async def until_state(process: asyncio.subprocess.Process, state: str) -> list[int]:
    """Processes of the engine at the moment it reached the state."""
    assert process.stdout is not None
    async with asyncio.timeout(180):
        async for line in process.stdout:
            name, *pids = line.decode().split()
            if name == state:
                return [int(pid) for pid in pids]
    raise AssertionError(f"the supervisor ended before its engine was {state}")


async def until_gone(pids: list[int]) -> None:
    await poll(lambda: not any((stat := processes.read_stat(pid)) and stat.state not in "ZX" for pid in pids), DYING_S)


async def test_killing_the_supervisor_of_a_ready_engine_leaves_no_process(home, small_model, tmp_path):
    supervisor = await start_supervisor(home, small_model, tmp_path)
    pids = await until_state(supervisor, "ready")
    assert len(pids) >= 2, "an API process and its core at least"
    os.kill(supervisor.pid, signal.SIGKILL)
    await supervisor.wait()
    await until_gone(pids)


async def test_killing_the_supervisor_of_a_starting_engine_leaves_no_process(home, small_model, tmp_path):
    supervisor = await start_supervisor(home, small_model, tmp_path)
    pids = await until_state(supervisor, "starting")
    os.kill(supervisor.pid, signal.SIGKILL)
    await supervisor.wait()
    await until_gone(pids)
