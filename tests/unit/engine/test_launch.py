"""No process of an engine outlives the one that started it, whether it was spawned or forked."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from remuda.engine import proc
from remuda.engine.inside import launch

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


async def start(folder: Path, method: str, parent: int) -> asyncio.subprocess.Process:
    (folder / "engine.py").write_text(ENGINE)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        launch.__file__,
        "engine",
        method,
        env={**os.environ, "PYTHONPATH": str(folder), launch.PARENT_VARIABLE: str(parent)},
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.parametrize("method", ["spawn", "fork"])
async def test_children_live_as_long_as_their_parent(tmp_path, method):
    engine = await start(tmp_path, method, os.getpid())
    async with asyncio.timeout(30):
        child = int(await engine.stdout.readline())
        assert proc.read_stat(child) is not None
        os.kill(engine.pid, signal.SIGKILL)
        await engine.wait()
        while proc.find_group(engine.pid):  # noqa: ASYNC110 (the kernel tells nobody)
            await asyncio.sleep(0.01)


async def test_an_engine_whose_starter_is_gone_ends_at_once(tmp_path):
    engine = await start(tmp_path, "spawn", parent=2**22 + 1)
    async with asyncio.timeout(10):
        assert await engine.wait() == -signal.SIGKILL
