"""Shutting down: finish what is there, take nothing new, cut what takes too long; and the supervised process."""

import asyncio
import os
import resource
import signal
import socket
import sys
import time

import msgspec
import pytest
from tests.gateway.conftest import route_to
from tests.gateway.double_engine import DoubleEngine, completion
from tests.gateway.wire import Wire, complete, get, until

from remuda.gateway.options import Listen, Timeouts
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Table


async def test_drain_finishes_requests_and_closes_idle_connections(site):
    release = asyncio.Event()

    async def held(reply):
        await release.wait()
        await reply.answer(completion())

    site.engine.default = held
    idle, busy = await site.open(), await site.open()
    await idle.ask(get("/health"))
    await busy.send(complete())
    await until(lambda: site.engine.requests)
    draining = asyncio.create_task(site.gateway.drain())
    assert await idle.closed() == b""
    with pytest.raises(ConnectionRefusedError):
        await Wire.open(site.port)
    release.set()
    response = await busy.read()
    assert (response.status, response.headers["connection"]) == (200, "close")
    assert await busy.closed() == b""
    assert await draining is True


async def test_stream_that_began_before_a_drain_does_not_hold_it_up(site):
    """Its head had promised the client to go on."""
    release = asyncio.Event()

    async def held(reply):
        await reply.begin_stream()
        await reply.event("one")
        await release.wait()
        await reply.end_stream()

    site.engine.default = held
    wire = await site.open()
    await wire.send(complete(stream=True))
    head = await wire.read_head()
    assert b"connection: close" not in head
    await wire.read_chunk()
    draining = asyncio.create_task(site.gateway.drain(60))
    await asyncio.sleep(0)
    release.set()
    assert (await wire.closed()).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert await draining is True


async def test_drain_cuts_what_takes_too_long(site):
    async def never(reply):
        await reply.gone()

    site.engine.default = never
    wire = await site.open()
    await wire.send(complete())
    await until(lambda: site.engine.requests)
    assert await site.gateway.drain(0.1) is False
    assert await wire.closed() == b""
    await until(lambda: site.engine.open_connections == 0)


async def test_request_on_a_kept_connection_during_a_drain_is_refused(site):
    release = asyncio.Event()

    async def held(reply):
        await release.wait()
        await reply.answer(completion())

    site.engine.default = held
    wire = await site.open()
    await wire.send(complete() + complete())
    await until(lambda: site.engine.requests)
    draining = asyncio.create_task(site.gateway.drain())
    await asyncio.sleep(0)
    release.set()
    assert (await wire.read()).headers["connection"] == "close"
    assert await wire.closed() == b""
    assert await draining is True


# ---- the process


class Child:
    """`python -m remuda.gateway --fd N` and the parent's end of its socket."""

    def __init__(self, process, reader, writer) -> None:
        self.process = process
        self.reader = reader
        self.writer = writer

    @classmethod
    async def start(cls) -> "Child":
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "remuda.gateway", "--fd", str(theirs.fileno()),
                pass_fds=(theirs.fileno(),), stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        return cls(process, *await asyncio.open_connection(sock=ours))

    def tell(self, **message) -> None:
        self.writer.write(msgspec.json.encode(message) + b"\n")

    async def hear(self) -> dict:
        """The next event that is not a sign of life."""
        async with asyncio.timeout(10):
            while (event := msgspec.json.decode(await self.reader.readline())) == {"event": "alive"}:
                pass
            return event

    async def end(self) -> int:
        async with asyncio.timeout(10):
            code = await self.process.wait()
        self.writer.close()
        await self.process.stderr.read()
        return code


@pytest.fixture
async def child():
    started = await Child.start()
    yield started
    if started.process.returncode is None:
        started.process.kill()
        await started.process.wait()
    started.writer.close()
    await started.process.stderr.read()


SETTINGS = GatewaySettings(listen=Listen(port=0), timeouts=Timeouts(drain_s=5.0))


async def test_process_serves_the_tables_it_is_told_and_ends_with_its_parent(child):
    engine = await DoubleEngine().start()
    child.tell(settings=SETTINGS)
    child.tell(table=Table(models=(route_to([]),)))
    listening = await child.hear()
    assert listening["event"] == "listening"
    wire = await Wire.open(listening["port"])
    assert (await wire.ask(complete())).status == 503
    child.tell(table=Table(models=(route_to([engine]),)))
    async with asyncio.timeout(10):
        while (await wire.ask(complete())).status != 200:
            pass
    child.writer.write_eof()
    assert (await child.hear()) == {"event": "drained", "clean": True}
    assert await child.end() == 0
    await wire.close()
    await engine.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_process_drains_on_a_signal(child, number):
    child.tell(settings=SETTINGS)
    child.tell(table=Table())
    await child.hear()
    os.kill(child.process.pid, number)
    assert (await child.hear())["event"] == "drained"
    assert await child.end() == 0


async def test_process_says_why_it_cannot_listen(child):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        child.tell(settings={"listen": {"port": taken.getsockname()[1]}})
        child.tell(table=Table())
        problem = await child.hear()
    assert problem["event"] == "problem"
    assert "the port is taken" in problem["message"]
    assert problem["hint"]
    assert await child.end() == 1


async def test_process_refuses_nonsense_from_its_parent(child):
    child.writer.write(b'{"settings": {"listen": {"port": "x"}}}\n')
    assert (await child.hear())["event"] == "problem"
    assert await child.end() == 1


async def test_process_listens_soon_after_its_start():
    began = time.monotonic()
    child = await Child.start()
    child.tell(settings=SETTINGS)
    child.tell(table=Table())
    await child.hear()
    elapsed_s = time.monotonic() - began
    child.process.terminate()
    await child.end()
    assert elapsed_s < 3.0  # half a second on an idle machine; benchmarks measure it


async def test_process_opens_as_many_files_as_it_may():
    """A thousand streams need two thousand; most systems begin with 1,024."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        child = await Child.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    child.tell(settings=SETTINGS)
    child.tell(table=Table())
    await child.hear()
    assert resource.prlimit(child.process.pid, resource.RLIMIT_NOFILE) == (limits[1], limits[1])
    child.process.terminate()
    await child.end()


async def test_process_loads_nothing_heavy():
    script = (
        "import sys, remuda.gateway.supervised, uvloop\n"
        "heavy = {'pydantic', 'httpx', 'click', 'rich', 'yaml', 'prometheus_client'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.strip() == b"[]"
