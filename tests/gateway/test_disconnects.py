"""A client that leaves takes its request with it; an engine is never left working for nobody."""

import asyncio
import time

import pytest
from tests.gateway.double_engine import completion
from tests.gateway.wire import complete, get, until


async def _hold(reply):
    await reply.gone()
    reply.engine.gone_at = time.monotonic()


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
async def test_client_that_leaves_before_the_answer_aborts_it_upstream_at_once(site, how):
    site.engine.default = _hold
    wire = await site.open()
    await wire.send(complete())
    await until(lambda: site.engine.requests)
    left_at = time.monotonic()
    {"close": wire.writer.close, "half-close": wire.writer.write_eof, "reset": wire.writer.transport.abort}[how]()
    await until(lambda: hasattr(site.engine, "gone_at"))
    assert site.engine.gone_at - left_at < 0.1
    await until(lambda: site.outcomes == {"client_disconnected": 1})
    site.assert_nothing_leased()


async def test_client_that_leaves_during_a_stream_aborts_it_upstream(site):
    async def endless(reply):
        await reply.begin_stream()
        await reply.event("one")
        await _hold(reply)

    site.engine.default = endless
    wire = await site.open()
    await wire.send(complete(stream=True))
    await wire.read_head()
    await wire.read_chunk()
    await wire.close()
    await until(lambda: hasattr(site.engine, "gone_at"))
    await until(lambda: site.outcomes == {"client_disconnected": 1})
    site.assert_nothing_leased()


async def test_client_that_leaves_during_its_own_upload_costs_nothing(site):
    wire = await site.open()
    await wire.send(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
    await until(lambda: site.gateway.admission.in_flight == 1)
    await wire.close()
    await until(lambda: site.outcomes == {"client_disconnected": 1})
    assert site.engine.requests == []
    site.assert_nothing_leased()


async def test_client_that_leaves_while_an_engine_is_connected_to_costs_nothing(sites, monkeypatch):
    async with sites(timeouts={"connect_s": 5.0}) as site:
        engine = site.gateway.directory.engines["m-0"]
        arrived, release = asyncio.Event(), asyncio.Event()
        wire = await site.open()
        loop = asyncio.get_running_loop()
        connect = loop.create_connection

        async def connect_slowly(*args, **kwargs):
            arrived.set()
            await release.wait()
            return await connect(*args, **kwargs)

        monkeypatch.setattr(loop, "create_connection", connect_slowly)
        await wire.send(complete())
        await arrived.wait()
        await wire.close()
        await until(lambda: site.outcomes == {"client_disconnected": 1})
        release.set()
        await until(lambda: len(engine.pool.idle) == 1)
        site.assert_nothing_leased()


async def test_connection_to_the_engine_is_not_reused_after_an_abort(site):
    site.engine.scripts.append(_hold)
    wire = await site.open()
    await wire.send(complete())
    await until(lambda: site.engine.requests)
    await wire.close()
    await until(lambda: site.engine.open_connections == 0)
    assert (await site.ask(complete())).body == completion()


async def test_answer_to_a_client_that_closed_right_after_asking_is_not_an_error(site):
    for _ in range(20):
        wire = await site.open()
        await wire.send(get("/health"))
        await wire.close()
    await until(lambda: not site.gateway.clients.links)
    assert set(site.outcomes) <= {"completed", "client_disconnected"}


async def test_client_that_leaves_without_having_read_its_answer_aborts_it_upstream(site):
    async def endless(reply):
        await reply.begin_stream()
        while True:
            await reply.event("x" * 50_000)

    site.engine.default = endless
    wire = await site.open()
    wire.writer.transport.pause_reading()
    await wire.send(complete(stream=True))
    await until(lambda: site.gateway.clients.links)
    connection = next(iter(site.gateway.clients.links))
    await until(lambda: connection.transport.get_write_buffer_size() > 64 * 1024)
    wire.writer.write_eof()
    await until(lambda: site.outcomes == {"client_disconnected": 1})
    await until(lambda: site.engine.open_connections == 0)
    site.assert_nothing_leased()
