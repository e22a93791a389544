"""The supervisor's end of the control socket: signs of life, and a process that hangs."""

import asyncio
import os
import signal
import socket
import urllib.request
from dataclasses import asdict

from tests.gateway.test_drain import SETTINGS, Child

from remuda.fleet.gateway_process import GatewayState, GatewaySupervisor, HeartbeatMonitor
from remuda.gateway.options import Listen
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.supervised import ControlSocket
from remuda.gateway.table import Table

DEADLINE_S = 30.0


async def open_control() -> tuple[ControlSocket, asyncio.StreamWriter, socket.socket]:
    """A gateway's end and, unread, its parent's."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    return ControlSocket(reader, writer), writer, theirs


async def test_beats_do_not_pile_up_for_a_parent_that_does_not_read():
    control, writer, parent = await open_control()
    with parent:
        while not (unsent := writer.transport.get_write_buffer_size()):
            control.tell(event="something", text="x" * 10_000)
        heartbeats = asyncio.create_task(control.send_heartbeats(every_s=0))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not heartbeats.done()
        assert writer.transport.get_write_buffer_size() == unsent
        heartbeats.cancel()
        await control.close()


async def test_process_leaves_though_its_parent_never_reads_again():
    control, _, parent = await open_control()
    with parent:
        control.tell(event="something", text="x" * 10_000_000)
        async with asyncio.timeout(DEADLINE_S):
            await control.close()


async def test_process_says_again_and_again_that_it_lives():
    child = await Child.start()
    child.tell(settings=SETTINGS)
    child.tell(table=Table())
    await child.hear()
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(2):
            assert await child.reader.readline() == b'{"event":"alive"}\n'
    child.process.terminate()
    assert await child.end() == 0


def ask_health(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=DEADLINE_S) as answer:
        return answer.status


async def test_process_that_is_stopped_is_replaced_and_answers_on_the_same_port(tmp_path):
    changed = asyncio.Event()
    settings = asdict(GatewaySettings(listen=Listen(port=0)))
    heartbeats = HeartbeatMonitor(check_s=1.5, silent_checks=3)
    gateway = GatewaySupervisor(settings, lambda _: changed.set(), tmp_path / "log", heartbeats=heartbeats)
    gateway.send_table(Table())
    run = asyncio.create_task(gateway.run())

    async def until_listening(restarts: int) -> int:
        async with asyncio.timeout(DEADLINE_S):
            while (gateway.status.state, gateway.status.restarts) != (GatewayState.LISTENING, restarts):
                changed.clear()
                await changed.wait()
        assert gateway.status.pid
        return gateway.status.pid

    first = await until_listening(restarts=0)
    port = gateway.status.port
    assert await asyncio.to_thread(ask_health, port) == 200
    os.kill(first, signal.SIGSTOP)
    assert await until_listening(restarts=1) != first
    assert gateway.status.reason == "started again: it did not answer for 4.5 s; killed"
    assert gateway.status.port == port
    assert await asyncio.to_thread(ask_health, port) == 200
    await gateway.drain(5)
    await run
