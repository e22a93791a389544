"""Every connection ends: the refused, the silent, the ones that are never read, and those whose client has left."""

import asyncio
import os
import socket
from time import monotonic

import pytest
from tests.gateway.conftest import route_to
from tests.gateway.double_engine import completion, event
from tests.gateway.test_sides import open_beside
from tests.gateway.test_uploads import CHUNKED, body_of, held
from tests.gateway.wire import DEADLINE_S, complete, get, post, until

from remuda.gateway.http import listener
from remuda.gateway.options import Tls
from remuda.gateway.table import Table

CLOSE = b"connection: close\r\n"


def links(site) -> set:
    return site.gateway.clients.links


async def only_link(site):
    await until(lambda: len(links(site)) == 1)
    return next(iter(links(site)))


async def read_to_the_end(wire) -> bytes:
    """Everything until the gateway closes; a reset is an error."""
    async with asyncio.timeout(DEADLINE_S):
        return await wire.reader.read()


async def answer_at_length(reply):
    """The gateway holds the whole answer of /generate, so the request is over long before the client has read it."""
    await reply.answer(completion("x" * 20_000_000))


# ---- connections that nobody needs


async def test_connections_that_were_refused_end_although_their_clients_stay(sites):
    async with sites(limits={"connections": 1}) as site:
        first = await site.open()
        await first.ask(get("/health"))
        served = await only_link(site)
        for _ in range(20):
            await site.open()
        await until(lambda: len(links(site)) == 21)
        await until(lambda: links(site) == {served}, "the refused ones are gone")
        assert site.gateway.clients.refused == 12


async def test_silent_tls_connection_ends(sites, certificate, monkeypatch):
    monkeypatch.setattr(listener, "_TLS_HANDSHAKE_S", 0.1)
    folder, _ = certificate
    async with sites(listen={"tls": Tls(str(folder / "cert.pem"), str(folder / "key.pem"))}) as site:
        silent = await site.open()
        assert await silent.closed() == b""


async def test_tls_client_that_never_answers_the_end_of_its_connection_is_cut(sites, certificate, monkeypatch):
    monkeypatch.setattr(listener, "_TLS_SHUTDOWN_S", 0.1)
    folder, context = certificate
    async with sites(listen={"tls": Tls(str(folder / "cert.pem"), str(folder / "key.pem"))}) as site:
        wire = await site.open(ssl=context)
        await only_link(site)
        wire.writer.transport.pause_reading()
        await wire.send(get("/health", CLOSE))
        await until(lambda: site.outcomes == {"completed": 1})
        await until(lambda: not links(site), "the connection is gone")


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_closing_connection_whose_last_answer_is_never_read_is_cut(sites, certificate, secure):
    folder, context = certificate
    tls = Tls(str(folder / "cert.pem"), str(folder / "key.pem")) if secure else None
    async with sites(reader_timeout_s=0.15, listen={"tls": tls}) as site:
        site.engine.default = answer_at_length
        wire = await site.open(ssl=context if secure else None)
        await only_link(site)
        wire.writer.transport.pause_reading()
        await wire.send(post("/generate", {"prompt": "x"}, CLOSE))
        await until(lambda: site.outcomes == {"completed": 1})
        await until(lambda: not links(site), "the connection is gone")


@pytest.mark.parametrize("last", [get("/health", CLOSE), b"no request at all\r\n\r\n"], ids=["close", "garbage"])
async def test_closing_connection_with_little_unsent_is_cut_too(sites, last):
    async with sites(reader_timeout_s=0.15) as site:
        wire = await site.open()
        link = await only_link(site)
        wire.writer.transport.pause_reading()
        while link.transport.get_write_buffer_size() == 0:
            link.transport.write(b"x" * 4096)
        await wire.send(last)
        await until(lambda: site.outcomes, "the last request is answered")
        await until(lambda: not links(site), "the connection is gone")


@pytest.mark.parametrize("behind", [b"no request at all\r\n\r\n", get("/health", CLOSE)], ids=["garbage", "close"])
async def test_client_that_reads_neither_its_answer_nor_the_end_is_cut(sites, behind):
    async with sites(reader_timeout_s=0.15) as site:
        site.engine.default = answer_at_length
        wire = await site.open()
        await only_link(site)
        wire.writer.transport.pause_reading()
        await wire.send(post("/generate", {"prompt": "x"}) + behind)
        await until(lambda: not links(site), "the connection is gone")


async def test_stream_of_an_engine_that_left_the_table_ends_by_its_deadline(sites):
    async with sites(timeouts={"idle_s": 0.15}) as site:
        left = asyncio.Event()

        async def falls_silent(reply):
            await reply.begin_stream()
            await reply.event("one")
            await left.wait()
            await reply.event("two")
            await reply.gone()

        site.engine.default = falls_silent
        wire = await site.open()
        await wire.send(complete(stream=True))
        await wire.read_head()
        await wire.read_chunk()
        site.gateway.apply(Table(models=(route_to([]),)))
        left.set()
        rest = (await wire._read_chunks())[0]
        assert rest.startswith(event("two") + b'data: {"error"')
        assert b"it sent nothing for 0.15 s" in rest
        assert site.outcomes == {"stream_broken": 1}
        await until(lambda: site.engine.open_connections == 0)
        assert list(site.gateway.directory.connected()) == []


async def test_request_that_an_engine_never_answers_ends_by_its_deadline_when_the_engine_left_the_table(sites):
    async with sites(timeouts={"first_byte_s": 0.2}) as site:

        async def silent(reply):
            await reply.gone()

        site.engine.default = silent
        wire = await site.open()
        await wire.send(complete())
        await until(lambda: site.engine.requests)
        site.gateway.apply(Table(models=(route_to([]),)))
        response = await wire.read()
        assert (response.status, response.error["code"]) == (504, "engine_timeout")
        await until(lambda: list(site.gateway.directory.connected()) == [])


# ---- behind Connection: close


async def test_requests_behind_connection_close_are_not_executed(site):
    wire = await site.open()
    await wire.send(complete("first", headers=CLOSE) + complete("second") + get("/health"))
    response = await wire.read()
    assert (response.status, response.headers["connection"]) == (200, "close")
    assert await read_to_the_end(wire) == b""
    assert [request.json["prompt"] for request in site.engine.requests] == ["first"]
    assert site.outcomes == {"completed": 1}


@pytest.mark.parametrize("request_bytes", [complete("first", CLOSE), get("/health", CLOSE)], ids=["engine", "page"])
async def test_answer_before_much_that_is_not_read_is_not_lost_to_a_reset(site, request_bytes):
    async def big(reply):
        await reply.answer(completion("x" * 1_000_000))

    site.engine.default = big
    wire = await site.open()
    sending = asyncio.create_task(wire.send(request_bytes + complete("y" * 1000) * 500))
    response = await wire.read()
    assert response.status == 200
    assert await read_to_the_end(wire) == b""
    await asyncio.wait({sending})
    assert len(site.engine.requests) <= 1


async def test_http_1_0_client_gets_one_answer_and_no_more(site):
    wire = await site.open()
    await wire.send((get("/health") * 3).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (await wire.read()).headers["connection"] == "close"
    assert await read_to_the_end(wire) == b""
    assert site.outcomes == {"completed": 1}


async def test_request_before_one_that_is_none_is_answered_and_nothing_behind_it_is_executed(site):
    wire = await site.open()
    await wire.send(get("/health") + b"no request at all\r\n\r\n" + complete())
    assert [(await wire.read()).status for _ in range(2)] == [200, 400]
    assert await read_to_the_end(wire) == b""
    assert site.engine.requests == []


# ---- clients that leave behind what is not read


async def hold(reply):
    await reply.gone()
    reply.engine.left = True


def send_fin(wire) -> None:
    """As a process that ends, or one that closes its socket without a word of TLS."""
    with socket.socket(fileno=os.dup(wire.writer.get_extra_info("socket").fileno())) as sock:
        sock.shutdown(socket.SHUT_WR)


LEAVE = {
    "close": lambda wire: wire.writer.close(),
    "fin": send_fin,
    "reset": lambda wire: wire.writer.transport.abort(),
}


@pytest.mark.parametrize(
    ("secure", "how"),
    [(False, "close"), (False, "fin"), (False, "reset"), (True, "fin"), (True, "reset")],
    ids=["close", "fin", "reset", "tls-fin", "tls-reset"],
)
async def test_client_that_leaves_with_much_pipelined_behind_is_noticed(sites, certificate, secure, how):
    folder, context = certificate
    tls = Tls(str(folder / "cert.pem"), str(folder / "key.pem")) if secure else None
    async with sites(listen={"tls": tls}) as site:
        site.engine.default = hold
        wire = await site.open(ssl=context if secure else None)
        await wire.send(complete())
        await until(lambda: site.engine.requests)
        link = await only_link(site)
        await wire.send(complete("x" * 10_000) * 12)
        await until(lambda: link._reading_paused, "the gateway reads no further")
        LEAVE[how](wire)
        await until(lambda: hasattr(site.engine, "left"), "the engine is told")
        await until(lambda: site.outcomes == {"client_disconnected": 1})
        assert len(site.engine.requests) == 1
        site.assert_nothing_leased()


async def test_client_that_stays_with_much_pipelined_behind_is_served(site):
    release = asyncio.Event()

    async def held_back(reply):
        await release.wait()
        await reply.answer(completion())

    site.engine.default = held_back
    wire = await site.open()
    await wire.send(complete())
    await until(lambda: site.engine.requests)
    link = await only_link(site)
    await wire.send(complete("x" * 10_000) * 12)
    await until(lambda: link._reading_paused)
    for _ in range(3):
        assert link.deadline_at - monotonic() < 0.6
        link.on_deadline(link.deadline_at)
    release.set()
    for _ in range(13):
        assert (await wire.read()).status == 200


async def test_look_at_a_client_does_not_shorten_the_time_it_has_to_read(site):
    async def endless(reply):
        await reply.begin_stream()
        while True:
            await reply.event("x" * 50_000)

    site.engine.default = endless
    wire = await site.open()
    link = await only_link(site)
    wire.writer.transport.pause_reading()
    await wire.send(complete(stream=True))
    await until(lambda: link._unsent_bytes >= 0, "the client does not read")
    await wire.send(complete("x" * 10_000) * 12)
    await until(lambda: link._reading_paused)
    for _ in range(3):
        link.on_deadline(link.deadline_at)
    assert not link.closed
    wire.writer.transport.resume_reading()
    await wire.read_head()
    for _ in range(100):
        assert len((await wire.read_chunk())[0]) > 50_000


async def test_look_at_a_client_does_not_shorten_the_time_it_has_to_send(site):
    wire = await site.open()
    link = await only_link(site)
    body = body_of(300_000)
    await wire.send(CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in body[:-1]))
    await until(lambda: held(site) == len(body) - 1, "all of it is decoded")
    assert not link._reading_paused
    assert 50.0 < link.deadline_at - monotonic() <= 60.0
    link.on_deadline(link.deadline_at - 30.0)
    await wire.send(b"1\r\n}\r\n0\r\n\r\n")
    assert (await wire.read()).status == 200


PUT = b"PUT /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"


async def test_look_at_a_client_does_not_end_an_upload_that_waits_for_a_process_beside(sites, tmp_path):
    async with open_beside(sites, tmp_path) as (site, beside, _):
        beside.read.clear()
        size = 64 << 20
        wire = await site.open()
        upload = asyncio.create_task(wire.send(PUT % size + b"x" * size))
        link = await only_link(site)
        await until(lambda: link._sink is not None and link._reading_paused)
        for _ in range(3):
            link.on_deadline(link.deadline_at)
        beside.read.set()
        await upload
        assert (await wire.read()).status == 201
        assert beside.received == size


async def test_upload_that_waits_for_a_process_beside_still_has_an_end(sites, tmp_path):
    async with open_beside(sites, tmp_path) as (site, beside, _):
        beside.read.clear()
        size = 64 << 20
        wire = await site.open()
        upload = asyncio.create_task(wire.send(PUT % size + b"x" * size))
        link = await only_link(site)
        await until(lambda: link._sink is not None and link._reading_paused)
        assert 500.0 < link._due_at - monotonic() <= 600.0
        link.on_deadline(link._upload_until_at)
        response = await wire.read()
        assert (response.status, response.error["message"]) == (
            408,
            "The request body did not arrive completely within 600 s.",
        )
        upload.cancel()
        beside.read.set()
        await until(lambda: beside.ended)
