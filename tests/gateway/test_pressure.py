"""Slow readers and silent engines: bounded memory, bounded time, and long streams left alone."""

import asyncio
import socket

import pytest
from tests.gateway.double_engine import event
from tests.gateway.wire import complete, get, until

BIG_EVENT = event("x" * 60_000)


async def _endless(reply):
    reply.engine.sent = 0
    await reply.begin_stream()
    while True:
        await reply.chunk(BIG_EVENT)
        reply.engine.sent += len(BIG_EVENT)


async def test_slow_reader_stops_the_engine_and_costs_bounded_memory(site):
    site.engine.default = _endless
    wire = await site.open()
    wire.writer.transport.pause_reading()
    await wire.send(complete(stream=True))
    await until(lambda: any(up.paused for e in site.gateway.directory.engines.values() for up in e.pool.connections))
    connection = next(iter(site.gateway.clients.links))
    assert connection.transport.get_write_buffer_size() < 1_000_000
    before = site.engine.sent
    wire.writer.transport.resume_reading()
    await until(lambda: site.engine.sent > before + 5_000_000)


async def test_client_that_asks_on_without_reading_gets_no_further_answers(site):
    asked = 200

    async def big(reply):
        await reply.answer(b"x" * 200_000)

    site.engine.default = big
    wire = await site.open()
    wire.writer.transport.pause_reading()
    for _ in range(asked):
        wire.writer.write(complete())
        await asyncio.sleep(0)
    await until(lambda: site.gateway.clients.links)
    connection = next(iter(site.gateway.clients.links))
    await until(lambda: connection.transport.get_write_buffer_size() > 64 * 1024)
    size = len(complete())
    await until(lambda: len(site.engine.requests) * size + len(connection._buffer) == asked * size)  # all have come
    assert connection.transport.get_write_buffer_size() < 1_000_000
    wire.writer.transport.resume_reading()
    for _ in range(asked):
        assert len((await wire.read()).body) == 200_000
    assert site.outcomes == {"completed": asked}


async def test_stream_that_begins_before_a_reader_that_is_full_waits(site):
    """Its first bytes find the way blocked: the engine is told so at once."""
    site.engine.default = _endless
    wire = await site.open()
    wire.writer.transport.pause_reading()
    await until(lambda: site.gateway.clients.links)
    connection = next(iter(site.gateway.clients.links))
    connection.transport.write(b"x" * 64 * 1024)
    while connection.transport.get_write_buffer_size() == 0:
        connection.transport.write(b"x" * 4096)
    await wire.send(complete(stream=True))
    await until(lambda: any(up.paused for e in site.gateway.directory.engines.values() for up in e.pool.connections))
    assert connection.transport.get_write_buffer_size() < 1_000_000


async def test_reader_that_takes_nothing_is_cut(sites):
    async with sites(reader_timeout_s=0.15) as site:
        site.engine.default = _endless
        wire = await site.open()
        wire.writer.transport.pause_reading()
        await wire.send(complete(stream=True))
        await until(lambda: site.outcomes == {"client_timeout": 1})
        await until(lambda: site.engine.open_connections == 0)
        site.assert_nothing_leased()


async def test_reader_that_takes_a_whole_answer_too_slowly_is_cut(sites):
    async with sites(reader_timeout_s=0.15, timeouts={"keep_alive_s": 3600.0}) as site:

        async def big(reply):
            await reply.answer(b"x" * 30_000_000)

        site.engine.default = big
        wire = await site.open()
        wire.writer.transport.pause_reading()
        await wire.send(complete())
        await until(lambda: site.engine.requests)
        await until(lambda: not site.gateway.clients.links)


async def test_slow_but_moving_reader_is_not_cut(sites):
    async with sites(reader_timeout_s=0.3) as site:
        total = 6_000_000

        async def big(reply):
            await reply.answer(b"x" * total)

        site.engine.default = big
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", site.port))
        await loop.sock_sendall(sock, complete(headers=b"connection: close\r\n"))
        got = 0
        while data := await loop.sock_recv(sock, 200_000):
            got += len(data)
            await asyncio.sleep(0.02)
        sock.close()
        assert got > total
        assert site.outcomes == {"completed": 1}


@pytest.mark.req("G3.idle-timeouts", level="double")
async def test_engine_that_falls_silent_in_a_stream_is_cut_with_an_error_event(sites):
    async with sites(timeouts={"idle_s": 0.15}) as site:

        async def silent(reply):
            await reply.begin_stream()
            await reply.event("one")
            await reply.gone()

        site.engine.default = silent
        response = await site.ask(complete(stream=True))
        assert response.body.startswith(event("one") + b'data: {"error"')
        assert site.outcomes == {"stream_broken": 1}


@pytest.mark.req("G3.idle-timeouts", level="double")
async def test_long_stream_that_moves_is_never_cut(sites):
    async with sites(reader_timeout_s=0.2, timeouts={"idle_s": 0.2, "first_byte_s": 0.3, "keep_alive_s": 0.2}) as site:

        async def slow(reply):
            await reply.begin_stream()
            for n in range(12):
                await reply.event(str(n))
                await asyncio.sleep(0.05)
            await reply.end_stream()

        site.engine.default = slow
        response = await site.ask(complete(stream=True))
        assert response.body.endswith(b"data: [DONE]\n\n")
        assert site.outcomes == {"completed": 1}


async def test_unfinished_event_is_held_but_not_without_bound(site):
    async def one_long_event(reply):
        await reply.begin_stream()
        await reply.chunk(b"data: " + b"x" * 1_500_000)
        await until(lambda: wire_got)
        await reply.chunk(b"\n\n")
        await reply.end_stream()

    wire_got = []
    site.engine.default = one_long_event
    wire = await site.open()
    await wire.send(complete(stream=True))
    await wire.read_head()
    wire_got.append((await wire.read_chunk())[0])
    while (await wire.read_chunk())[0]:
        pass


@pytest.mark.parametrize("streams", [200])
async def test_many_streams_at_once_are_complete(sites, streams):
    async with sites(engines=2) as site:
        wires = [await site.open() for _ in range(streams)]
        for wire in wires:
            await wire.send(complete(stream=True))
        for wire in wires:
            assert (await wire.read()).body.endswith(b"data: [DONE]\n\n")
        assert site.outcomes == {"completed": streams}
        assert {len(engine.requests) for engine in site.engines} == {streams // 2}
        site.assert_nothing_leased()


async def test_leases_and_memory_are_back_after_many_requests(site):
    wire = await site.open()
    for _ in range(300):
        await wire.ask(complete())
    await wire.ask(get("/health"))
    site.assert_nothing_leased()
    assert len(site.gateway.directory.engines["m-0"].pool.connections) == 1
