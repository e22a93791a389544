"""A step between the head of a request and its body may wait; and a body of no bytes is a body."""

import asyncio

import pytest
from tests.gateway.test_sides import open_beside
from tests.gateway.test_uploads import CHUNKED, HEAD, body_of
from tests.gateway.wire import complete, get, until

SIDE = b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\n"
BODY = body_of(600_000)
IN_CHUNKS = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:1], BODY[1:70_000], BODY[70_000:], b""))
SMALL = body_of(150_000)
IN_TINY_CHUNKS = b"".join(b"1\r\n%c\r\n" % byte for byte in SMALL) + b"0\r\n\r\n"


def unframe(chunks: bytes) -> bytes:
    """The payload of chunks."""
    body = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        body += rest[: int(size, 16)]
        chunks = rest[int(size, 16) + 2 :]
    return body


def hold_connecting(monkeypatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Let a request to a process beside wait before its body is read: (it waits, it may go on)."""
    waits, may_go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    connect = loop.create_unix_connection

    async def connect_later(*arguments, **options):
        waits.set()
        await may_go_on.wait()
        return await connect(*arguments, **options)

    monkeypatch.setattr(loop, "create_unix_connection", connect_later)
    return waits, may_go_on


@pytest.mark.parametrize(
    ("framed", "body"),
    [
        pytest.param(b"content-length: %d\r\n\r\n" % len(BODY) + BODY, BODY, id="length"),
        pytest.param(b"transfer-encoding: chunked\r\n\r\n" + IN_CHUNKS, BODY, id="chunks"),
        pytest.param(b"transfer-encoding: chunked\r\n\r\n" + IN_TINY_CHUNKS, SMALL, id="tiny-chunks"),
    ],
)
async def test_body_that_came_while_a_step_waited_is_read_to_its_end(sites, tmp_path, monkeypatch, framed, body):
    async with open_beside(sites, tmp_path, body_bytes=1 << 20) as (site, beside, _):
        waits, may_go_on = hold_connecting(monkeypatch)
        wire = await site.open()
        sending = asyncio.create_task(wire.send(SIDE + framed))
        await waits.wait()
        (link,) = site.gateway.clients.links
        await until(lambda: link._reading_paused, "the gateway reads no further")
        may_go_on.set()
        await sending
        assert (await wire.read()).status == 201
        assert not link._reading_paused
        assert beside.received == len(body) or unframe(beside.body) == body
        assert (await wire.ask(get("/health"))).status == 200


async def test_client_that_leaves_while_a_step_waits_is_noticed(sites, tmp_path, monkeypatch):
    async with open_beside(sites, tmp_path, body_bytes=1 << 20) as (site, beside, _):
        waits, may_go_on = hold_connecting(monkeypatch)
        wire = await site.open()
        await wire.send(SIDE + b"content-length: 200000\r\n\r\n")
        await waits.wait()
        (link,) = site.gateway.clients.links
        await wire.send(b"x" * 100_000)
        await until(lambda: link._reading_paused)
        wire.writer.close()
        await until(lambda: site.outcomes == {"client_disconnected": 1})
        may_go_on.set()
        await asyncio.sleep(0)
        assert beside.received == 0


async def test_client_is_told_to_continue_only_after_the_step(sites, tmp_path, monkeypatch):
    async with open_beside(sites, tmp_path) as (site, beside, _):
        waits, may_go_on = hold_connecting(monkeypatch)
        wire = await site.open()
        await wire.send(SIDE + b"expect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        await waits.wait()
        assert not wire.reader._buffer
        may_go_on.set()
        assert (await wire.read()).status == 100
        await wire.send(b"hello")
        assert (await wire.read()).status == 201
        assert beside.received == 5


@pytest.mark.parametrize("path", [b"/v1/completions", b"/v1/chat/completions", b"/generate", b"/batch-generate"])
@pytest.mark.parametrize(
    "framed",
    [
        pytest.param(HEAD + b"content-length: 0\r\n\r\n", id="length-0"),
        pytest.param(HEAD + b"\r\n", id="no-length"),
        pytest.param(CHUNKED + b"0\r\n\r\n", id="chunked"),
        pytest.param(CHUNKED + b"0;a=b\r\nx-trailer: 1\r\n\r\n", id="chunked-with-trailer"),
    ],
)
async def test_body_of_no_bytes_is_a_body_that_is_no_json(site, path, framed):
    wire = await site.open()
    refused = await wire.ask(framed.replace(b"/v1/completions", path))
    assert (refused.status, refused.error["code"]) == (400, "invalid_json")
    assert "connection" not in refused.headers
    assert (await wire.ask(complete())).status == 200
    assert len(site.engine.requests) == 1


async def test_empty_chunked_body_in_two_pieces_is_waited_for(site):
    wire = await site.open()
    await wire.send(CHUNKED + b"0\r\n")
    await until(lambda: site.gateway.admission.in_flight == 1)
    await wire.send(b"\r\n")
    assert (await wire.read()).error["code"] == "invalid_json"
