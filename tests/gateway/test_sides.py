"""A path may lead to a process beside the gateway: any method, bodies passed on as they come, over a Unix socket."""

import asyncio
import contextlib

import pytest
from tests.gateway.conftest import route_to
from tests.gateway.wire import get, post, until

from remuda.gateway.access.keys import hash_key, make_key
from remuda.gateway.table import KeyRecord, Side, Table


class Beside:
    """A process beside the gateway: keeps what it was sent, answers what it is told."""

    def __init__(self) -> None:
        self.head = b""
        self.received = 0
        self.body = b""
        self.read = asyncio.Event()
        self.read.set()
        self.answer = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        self.ended = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.head = await reader.readuntil(b"\r\n\r\n")
            if b"content-length: " in self.head:
                left = int(self.head.partition(b"content-length: ")[2].partition(b"\r")[0])
                while left:
                    await self.read.wait()
                    data = await reader.readexactly(min(left, 65536))
                    left -= len(data)
                    self.received += len(data)
                    self.body = (self.body + data)[-64:]
            else:
                self.body = await reader.readuntil(b"0\r\n\r\n")
            writer.write(self.answer)
            await writer.drain()
        self.ended += 1
        writer.close()


@contextlib.asynccontextmanager
async def open_beside(sites, tmp_path, **side):
    beside = Beside()
    path = str(tmp_path / "side.sock")
    server = await asyncio.start_unix_server(beside.serve, path, limit=1 << 24)
    try:
        async with sites() as site:
            table = Table(models=(route_to(site.engines),), sides=(Side("files", "/v1/files", path, **side),))
            site.gateway.apply(table)
            yield site, beside, table
    finally:
        server.close()
        for writer in beside.writers:
            writer.transport.abort()
        await asyncio.sleep(0)  # transports close in the next turn of the loop


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"POST", b"PUT", b"PATCH"])
async def test_any_method_and_the_whole_target_reach_the_process_beside(sites, tmp_path, method):
    async with open_beside(sites, tmp_path) as (site, beside, _):
        response = await site.ask(get("/v1/files/file-1?after=2", b"x-remuda-tenant: root\r\n", method=method))
        assert (response.status, response.body) == (201, b"{}")
        line, *headers = beside.head.decode().split("\r\n")
        assert line == f"{method.decode()} /v1/files/file-1?after=2 HTTP/1.1"
        assert [header for header in headers if header.startswith("x-remuda-")] == ["x-remuda-tenant: "]
        assert site.outcomes == {"completed": 1}


@pytest.mark.parametrize("path", ["/v1/filesystem", "/v1/file", "/v1"])
async def test_only_the_path_and_what_is_below_it_leads_there(sites, tmp_path, path):
    async with open_beside(sites, tmp_path) as (site, beside, _):
        assert (await site.ask(get(path))).status == 404
        assert beside.head == b""


async def test_body_is_passed_on_as_it_comes_and_waits_when_nobody_takes_it(sites, tmp_path):
    async with open_beside(sites, tmp_path) as (site, beside, _):
        beside.read.clear()
        size = 64 << 20
        wire = await site.open()
        head = b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % size
        upload = asyncio.create_task(wire.send(head + b"x" * (size - 4) + b"last"))
        (link,) = site.gateway.clients.links
        await until(lambda: link._sink is not None and link._reading_paused)
        assert site.gateway.clients.bodies.held_bytes == 0
        assert beside.received == 0
        beside.read.set()
        await upload
        assert (await wire.read()).status == 201
        assert (beside.received, beside.body[-4:]) == (size, b"last")


async def test_chunked_body_goes_on_in_chunks(sites, tmp_path):
    async with open_beside(sites, tmp_path) as (site, beside, _):
        head = b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        wire = await site.open()
        await wire.send(head + b"5\r\nhello\r\n")
        await wire.send(b"6;ext=1\r\n world\r\n0\r\n\r\n")
        assert (await wire.read()).status == 201
        payload = b"".join(beside.body.split(b"\r\n")[1::2])
        assert payload == b"hello world"


@pytest.mark.parametrize("framing", [b"content-length: 1001\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n3e9\r\n"])
async def test_body_beyond_the_paths_own_limit_is_refused(sites, tmp_path, framing):
    async with open_beside(sites, tmp_path, body_bytes=1000) as (site, _, _):
        wire = await site.open()
        await wire.send(b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\n" + framing)
        assert (await wire.read()).status == 413


async def test_client_that_leaves_in_its_upload_leaves_no_half_body_behind(sites, tmp_path):
    async with open_beside(sites, tmp_path) as (site, beside, _):
        wire = await site.open()
        await wire.send(b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nhalf")
        await until(lambda: beside.head)
        wire.writer.transport.abort()
        await until(lambda: beside.ended)
        assert beside.received == 0
        await until(lambda: site.outcomes == {"client_disconnected": 1})


async def test_process_that_is_not_there_is_said_to_be_missing(sites, tmp_path):
    async with sites() as site:
        gone = Side("files", "/v1/files", str(tmp_path / "nobody.sock"))
        site.gateway.apply(Table(models=(route_to(site.engines),), sides=(gone,)))
        response = await site.ask(get("/v1/files"))
        assert (response.status, response.error["code"]) == (502, "side_failed")
        assert response.error["message"] == (
            "The process that serves '/v1/files' beside the gateway failed: FileNotFoundError."
        )


async def test_process_beside_is_told_the_tenant_and_never_the_key(sites, tmp_path):
    async with open_beside(sites, tmp_path) as (site, beside, table):
        key = make_key("blue", "k1")
        keyed = Table(models=table.models, sides=table.sides, keys=(KeyRecord(hash_key(key), "blue", "k1"),))
        site.gateway.apply(keyed)
        assert (await site.ask(get("/v1/files"))).status == 401
        response = await site.ask(get("/v1/files", f"authorization: Bearer {key}\r\n".encode()))
        assert response.status == 201
        assert b"x-remuda-tenant: blue\r\n" in beside.head
        assert key.encode() not in beside.head


async def test_path_that_comes_or_goes_with_a_table_is_looked_up_again_on_a_kept_connection(sites, tmp_path):
    async with open_beside(sites, tmp_path) as (site, _, table):
        wire = await site.open()
        assert (await wire.ask(post("/v1/files", b"{}"))).status == 201
        site.gateway.apply(Table(models=table.models))
        assert (await wire.ask(post("/v1/files", b"{}"))).status == 404
