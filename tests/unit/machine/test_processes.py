"""Processes, read from /proc."""

import asyncio
import os
import signal
import sys

from remuda.machine import processes

BUSY = "while True: pass"
TREE = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"


async def start(code: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, start_new_session=True)


async def poll(condition) -> None:
    async with asyncio.timeout(10):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def test_descendants_and_process_groups_are_found():
    parent = await start(TREE)
    try:
        await poll(lambda: list(processes.find_descendants(parent.pid)))
        (child,) = processes.find_descendants(parent.pid)
        assert sorted(processes.find_group(parent.pid)) == sorted([parent.pid, child])
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        await parent.wait()
    await poll(lambda: not processes.find_group(parent.pid))


async def test_cpu_time_grows_while_a_process_works_and_not_while_it_is_stopped():
    process = await start(BUSY)
    try:
        await poll(lambda: processes.measure_cpu_s([process.pid]) > 0.05)
        process.send_signal(signal.SIGSTOP)
        await poll(lambda: processes.read_stat(process.pid).state == "T")
        used = processes.measure_cpu_s([process.pid])
        await asyncio.sleep(0.1)
        assert processes.measure_cpu_s([process.pid]) == used
    finally:
        process.kill()
        await process.wait()


def test_a_process_that_has_ended_is_absent():
    gone = 2**22 + 1
    assert processes.read_stat(gone) is None
    assert list(processes.find_descendants(gone)) == []
    assert processes.measure_cpu_s([gone]) == 0


def test_this_process_is_described():
    stat = processes.read_stat(os.getpid())
    assert (stat.pid, stat.state, stat.group) == (os.getpid(), "R", os.getpgrp())
    assert stat.cpu_s > 0


async def test_children_are_found_on_kernels_that_do_not_list_them(monkeypatch):
    monkeypatch.setattr(processes, "_LISTS_CHILDREN", False)
    parent = await start(TREE)
    try:
        await poll(lambda: list(processes.find_descendants(parent.pid)))
        (child,) = processes.find_descendants(parent.pid)
        assert processes.read_stat(child).parent == parent.pid
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        await parent.wait()
