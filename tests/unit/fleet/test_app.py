"""The terminal of a fleet."""

import asyncio
import os
import pty

from remuda.fleet.app import watch_terminal


async def test_a_closed_terminal_is_noticed_without_a_signal():
    master, slave = pty.openpty()
    gone = asyncio.Event()
    watcher = asyncio.create_task(watch_terminal(slave, gone.set, poll_s=0))
    os.write(master, b"typed\n")  # activity is no hang-up
    for _ in range(100):
        await asyncio.sleep(0)
    assert not gone.is_set()
    os.close(master)
    await asyncio.wait_for(gone.wait(), 5)
    await watcher
    os.close(slave)
