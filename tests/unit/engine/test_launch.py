"""Processes of an engine end with their parent, spawned or forked, and run on the cores of the engine."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from remuda.engine.inside import launch
from remuda.engine.scratch import SHM_PREFIX_VARIABLE, own_scratch
from remuda.machine import processes
from remuda.machine.parent_death import PARENT_VARIABLE

ENGINE = """\
import multiprocessing, os, sys, time

def work(queue):
    queue.put(os.getpid())
    time.sleep(600)

def main():
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    context.Process(target=work, args=(queue,)).start()
    print(queue.get(timeout=20), flush=True)
    time.sleep(600)
"""


async def start(folder: Path, method: str, parent: int, code: str = ENGINE, **env: str) -> asyncio.subprocess.Process:
    (folder / "engine.py").write_text(code)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        launch.__file__,
        "engine",
        method,
        env={**os.environ, **env, "PYTHONPATH": str(folder), PARENT_VARIABLE: str(parent)},
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.parametrize("method", ["spawn", "fork"])
async def test_children_end_with_their_parent(tmp_path, method):
    engine = await start(tmp_path, method, os.getpid())
    async with asyncio.timeout(30):
        child = int(await engine.stdout.readline())
        assert processes.read_stat(child) is not None
        os.kill(engine.pid, signal.SIGKILL)
        await engine.wait()
        while processes.find_group(engine.pid):  # noqa: ASYNC110 (the kernel tells nobody)
            await asyncio.sleep(0.01)


async def test_an_engine_whose_parent_is_gone_ends_at_once(tmp_path):
    engine = await start(tmp_path, "spawn", parent=2**22 + 1)
    async with asyncio.timeout(10):
        assert await engine.wait() == -signal.SIGKILL


CORES = """\
import multiprocessing, os, sys, time

def work(queue):
    queue.put(sorted(os.sched_getaffinity(0)))
    time.sleep(600)

def main():
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    context.Process(target=work, args=(queue,)).start()
    print(sorted(os.sched_getaffinity(0)), queue.get(timeout=20), sep=";", flush=True)
    time.sleep(600)
"""
OURS = sorted(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("cores", "bound"),
    [(str(OURS[-1]), OURS[-1:]), (None, OURS), ("4095", OURS)],
    ids=["cores of its own", "no cores of its own", "cores that are gone"],
)
async def test_the_core_of_an_engine_is_bound_to_its_cores_and_the_api_process_is_not(tmp_path, cores, bound):
    engine = await start(tmp_path, "spawn", os.getpid(), CORES, **({"REMUDA_CORES": cores} if cores else {}))
    async with asyncio.timeout(30):
        said = (await engine.stdout.readline()).decode().strip()
        os.killpg(engine.pid, signal.SIGKILL)
        await engine.wait()
    assert said == f"{OURS};{bound}"


NAMES = """\
import multiprocessing, os, sys, time
from multiprocessing.shared_memory import SharedMemory

def work(queue):
    context = multiprocessing.get_context(sys.argv[1])
    locks, memory = [context.Lock() for _ in range(3)], SharedMemory(create=True, size=1)
    queue.put([memory.name, *(lock._semlock.name for lock in locks)])
    time.sleep(600)

def main():
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    context.Process(target=work, args=(queue,)).start()
    print(*queue.get(timeout=20), flush=True)
    time.sleep(600)
"""


async def test_semaphores_and_shared_memory_have_the_engines_prefix_and_are_removed_with_it(tmp_path):
    before = set(os.listdir("/dev/shm"))
    with own_scratch(tmp_path) as places:
        prefix = places[SHM_PREFIX_VARIABLE]
        engine = await start(tmp_path, "spawn", os.getpid(), NAMES, **places)
        async with asyncio.timeout(30):
            names = (await engine.stdout.readline()).decode().split()
            os.killpg(engine.pid, signal.SIGKILL)
            await engine.wait()
            while processes.find_group(engine.pid):  # noqa: ASYNC110 (the kernel tells nobody)
                await asyncio.sleep(0.01)
        assert len(names) == 4
        assert all(name.removeprefix("/").startswith(prefix) for name in names)
        assert [
            entry for entry in os.listdir("/dev/shm") if prefix in entry
        ]  # they are left, because the engine was killed
    assert not [entry for entry in set(os.listdir("/dev/shm")) - before if prefix in entry]
