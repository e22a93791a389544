"""Engines that answer wrongly, too early or too much: the client gets one answer, the next one is not affected."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from tests.gateway.conftest import route_to
from tests.gateway.double_engine import completion
from tests.gateway.wire import DEADLINE_S, complete, get

from remuda.gateway.table import Table

OK = b"HTTP/1.1 200 OK\r\n"
STREAM = b"content-type: text/event-stream\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
SECOND = b"HTTP/1.1 500 Oh\r\ncontent-length: 9\r\n\r\nsecond!!!"


def send(*pieces: bytes, close: bool = False):
    """A script that sends these pieces, each in a write of its own, and then perhaps closes."""

    async def script(reply):
        for piece in pieces:
            await reply.send(piece)
        if close:
            await reply.close()

    return script


async def ask_twice(site, script) -> tuple:
    """The answer of `script`, then an ordinary one; (first answer, how many connections the engine saw)."""
    site.engine.scripts.append(script)
    first = await site.ask(complete())
    second = await site.ask(complete())
    assert (second.status, second.body) == (200, completion())
    site.assert_nothing_leased()
    return first, site.engine.connections


USABLE = {
    "a length": ([OK + b"content-length: 2\r\n\r\n{}"], 200, b"{}"),
    "a length, and a body that ends with an empty line": (
        [OK + b"content-length: 4\r\n\r\n\r\n\r\n"],
        200,
        b"\r\n\r\n",
    ),
    "a length of zero": ([OK + b"content-length: 0\r\n\r\n"], 200, b""),
    "a length with zeros in front": ([OK + b"content-length: 0002\r\n\r\n{}"], 200, b"{}"),
    "chunks": ([OK + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"], 200, b"{}"),
    "chunks in two writes": ([OK + CHUNKED + b"1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"], 200, b"{}"),
    "204": ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, b""),
    "204 that says it streams": ([b"HTTP/1.1 204 No Content\r\n" + STREAM + b"\r\n"], 204, b""),
    "204 with a length": ([b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"], 204, b""),
    "a hundred interim answers": (
        [b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 100, OK + b"content-length: 2\r\n\r\n{}"],
        200,
        b"{}",
    ),
    "HTTP/1.0 that keeps the connection": (
        [b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}"],
        200,
        b"{}",
    ),
}


@pytest.mark.parametrize(("pieces", "status", "body"), USABLE.values(), ids=USABLE)
async def test_answer_is_relayed_and_its_connection_is_used_again(site, pieces, status, body):
    first, connections = await ask_twice(site, send(*pieces))
    assert (first.status, first.body) == (status, body)
    assert connections == 1
    if status == 204:
        assert not {"transfer-encoding", "content-length"} & first.headers.keys()


ONCE = {
    "a second answer": ([OK + b"content-length: 2\r\n\r\n{}" + SECOND], False, 200, b"{}"),
    "a second answer behind chunks": ([OK + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + SECOND], False, 200, b"{}"),
    "half a second answer": ([OK + b"content-length: 2\r\n\r\n{}" + SECOND[:9]], False, 200, b"{}"),
    "an interim answer behind": ([OK + b"content-length: 2\r\n\r\n{}HTTP/1.1 100 x\r\n\r\n"], False, 200, b"{}"),
    "garbage behind": ([OK + b"content-length: 2\r\n\r\n{}}}}"], False, 200, b"{}"),
    "an empty line behind": ([OK + b"content-length: 2\r\n\r\n{}\r\n"], False, 200, b"{}"),
    "an empty line behind chunks": ([OK + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n\r\n"], False, 200, b"{}"),
    "an empty line behind a body of empty lines": ([OK + b"content-length: 2\r\n\r\n\r\n\r\n"], False, 200, b"\r\n"),
    "a body behind 204": ([b"HTTP/1.1 204 x\r\ncontent-length: 2\r\n\r\n{}"], False, 204, b""),
    "chunks behind 204": ([b"HTTP/1.1 204 x\r\n" + STREAM + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"], False, 204, b""),
    "garbage behind an answer that closes": (
        [OK + b"connection: close\r\ncontent-length: 2\r\n\r\n{}garbage"],
        False,
        200,
        b"{}",
    ),
    "Connection: close": ([OK + b"connection: close\r\ncontent-length: 2\r\n\r\n{}"], False, 200, b"{}"),
    "HTTP/1.0": ([b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}"], False, 200, b"{}"),
    "HTTP/1.0 that ends with the connection": ([b"HTTP/1.0 200 OK\r\n\r\n", b"{", b"}"], True, 200, b"{}"),
    "HTTP/1.1 that ends with the connection": ([OK + b"\r\n", b"{", b"}"], True, 200, b"{}"),
    "the end of the connection as the whole body": ([OK + b"\r\n"], True, 200, b""),
}


@pytest.mark.parametrize(("pieces", "close", "status", "body"), ONCE.values(), ids=ONCE)
async def test_answer_is_relayed_and_its_connection_is_not_used_again(site, pieces, close, status, body):
    first, connections = await ask_twice(site, send(*pieces, close=close))
    assert (first.status, first.body) == (status, body)
    assert connections == 2


async def test_answer_behind_a_known_head_and_another_answer_are_told_apart(site):
    """The head of a whole answer is remembered, so the second time it is not parsed."""
    answer = OK + b"content-length: 2\r\n\r\n{}"
    for wire, connections in ((answer, 1), (answer, 1), (answer + SECOND, 1), (answer, 2)):
        site.engine.scripts.append(send(wire))
        response = await site.ask(complete())
        assert (response.status, response.body) == (200, b"{}")
        assert site.engine.connections == connections


async def test_stream_with_a_second_answer_behind_it_ends_once(site):
    event = b"data: x\n\n"
    wire = OK + STREAM + CHUNKED + b"9\r\n" + event + b"\r\n0\r\n\r\n"
    first, connections = await ask_twice(site, send(wire + wire))
    assert first.body == event
    assert connections == 2


NOT_HTTP = "what it sent is not HTTP"
NO_ANSWER = {
    "two lengths that differ": (OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{} ", NOT_HTTP),
    "two equal lengths": (OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}", NOT_HTTP),
    "a length and chunks": (
        OK + b"content-length: 2\r\n" + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
        NOT_HTTP,
    ),
    "an unknown coding": (
        OK + b"transfer-encoding: gzip\r\n\r\nabc",
        "its answer has a transfer encoding other than chunked",
    ),
    "a coding below chunked": (
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "its answer has a transfer encoding other than chunked",
    ),
    "chunked twice": (
        OK + b"transfer-encoding: chunked\r\n" + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
        "its answer has a transfer encoding other than chunked",
    ),
    "chunks in HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
        "its answer has a transfer encoding, which HTTP/1.0 does not know",
    ),
    "HTTP/2.0": (b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", "it answered in HTTP/2.0"),
    "101": (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nxyz", "it switched protocols"),
    "a length in an interim answer": (
        b"HTTP/1.1 199 x\r\ncontent-length: 2\r\n\r\n{}" + OK + b"content-length: 2\r\n\r\n[]",
        "it sent an interim answer with a body",
    ),
    "chunks in an interim answer": (
        b"HTTP/1.1 100 x\r\n" + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + OK + b"content-length: 2\r\n\r\n[]",
        "it sent an interim answer with a body",
    ),
    "status 099": (b"HTTP/1.1 099 Oh\r\ncontent-length: 2\r\n\r\n{}", "it answered with the status 99"),
    "status 600": (b"HTTP/1.1 600 Oh\r\ncontent-length: 2\r\n\r\n{}", "it answered with the status 600"),
    "two content types": (
        OK + b"content-type: a/b\r\ncontent-type: c/d\r\ncontent-length: 2\r\n\r\n{}",
        "its answer has two Content-Type headers",
    ),
    "garbage": (b"garbage\r\n\r\n", NOT_HTTP),
    "a head without end": (OK + b"x: " + b"y" * 70_000, "the head of its answer is too large"),
    "a head that is too large": (
        OK + b"x: " + b"y" * 70_000 + b"\r\ncontent-length: 2\r\n\r\n{}",
        "the head of its answer is too large",
    ),
    "interim answers without end": (b"HTTP/1.1 100 Go on\r\n\r\n" * 4000, "the head of its answer is too large"),
}


@pytest.mark.parametrize(("wire", "detail"), NO_ANSWER.values(), ids=NO_ANSWER)
async def test_what_is_no_answer_becomes_a_502(site, wire, detail):
    first, connections = await ask_twice(site, send(wire))
    assert first.status == 502
    assert first.error["code"] == "engine_failed"
    assert first.error["message"] == f"The engine of the model 'm' failed before it answered: {detail}."
    assert connections == 2


@pytest.mark.parametrize(
    "endless",
    [b"x-trailer: " + b"y" * 100 + b"\r\n", b"y" * 100],
    ids=["many trailers", "one trailer"],
)
async def test_trailers_without_end_are_not_kept(site, endless):
    head = OK + STREAM + CHUNKED + b"9\r\ndata: x\n\n\r\n0\r\nx: "
    closed = asyncio.Event()

    async def trail(reply):
        await reply.send(head)
        with contextlib.suppress(ConnectionError):
            for _ in range(100_000):  # ten megabytes: far more than the gateway and both kernels take
                await reply.send(endless)
        closed.set()

    site.engine.scripts.append(trail)
    response = await site.ask(complete(stream=True))
    async with asyncio.timeout(DEADLINE_S):
        await closed.wait()
    assert response.body.startswith(b"data: x\n\n")
    assert b"the head or the trailers of its answer are too large" in response.body
    assert site.outcomes == {"stream_broken": 1}


async def test_few_trailers_are_dropped(site):
    wire = OK + CHUNKED + b"2\r\n{}\r\n0\r\nx-checksum: 1\r\n\r\n"
    site.engine.scripts.append(send(wire))
    response = await site.ask(complete())
    assert (response.status, response.body) == (200, b"{}")
    assert b"x-checksum" not in response.raw


@pytest.mark.parametrize("minor", [0, 1])
async def test_stream_that_says_its_length_and_breaks_is_cut_short(site, minor):
    """There is no room for an event that says so."""
    site.engine.scripts.append(send(OK + STREAM + b"content-length: 20\r\n\r\ndata: x\n\n", close=True))
    wire = await site.open()
    await wire.send(complete(stream=True).replace(b" HTTP/1.1", b" HTTP/1.%d" % minor))
    head = await wire.read_head()
    assert b"content-length: 20\r\n" in head
    assert await wire.closed() == b"data: x\n\n"
    assert site.outcomes == {"stream_broken": 1}


class HastyEngine:
    """An engine that answers as soon as it has the head of a request and never reads the body."""

    def __init__(self, answer: bytes) -> None:
        self.connections = 0
        """Connections that carried a request; those of probes are not counted."""
        self.port = 0
        self._answer = answer
        self._held: list[socket.socket] = []

    async def accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listener)
            self._held.append(sock)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await loop.sock_recv(sock, 1)
            self.connections += head.startswith(b"POST ")
            await loop.sock_sendall(sock, self._answer)

    def close(self) -> None:
        for sock in self._held:
            sock.close()


@contextlib.asynccontextmanager
async def open_hasty_engine(answer: bytes) -> AsyncIterator[HastyEngine]:
    engine = HastyEngine(answer)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        engine.port = listener.getsockname()[1]
        task = asyncio.create_task(engine.accept(listener))
        try:
            yield engine
        finally:
            task.cancel()
            engine.close()


@pytest.mark.parametrize(
    ("status", "body_bytes"),
    [(b"200 OK", 12 << 20), (b"413 Content Too Large", 12 << 20), (b"413 Content Too Large", 100_000)],
    ids=["success, most of the body unsent", "refusal, most of the body unsent", "refusal, body in the kernel"],
)
async def test_engine_that_answers_before_it_has_read_the_request_gets_no_further_request_there(
    sites, status, body_bytes
):
    answer = b"HTTP/1.1 %b\r\ncontent-length: 2\r\n\r\n{}" % status
    async with open_hasty_engine(answer) as engine:
        table = Table(models=(route_to([engine]),))
        async with sites(engines=0, table=table) as site:
            for connections in (1, 2):
                response = await site.ask(complete("x" * body_bytes))
                assert (response.status, response.body) == (int(status[:3]), b"{}")
                assert engine.connections == connections
            site.assert_nothing_leased()


async def test_answer_that_is_late_for_a_closed_request_reaches_nobody(site):
    """An idle connection on which the engine says something is closed."""
    site.engine.scripts.append(send(completion_answer(), SECOND))
    first = await site.ask(complete())
    assert (first.status, first.body) == (200, b"{}")
    assert (await site.ask(complete())).body == completion()
    assert (await site.ask(get("/ready"))).status == 200


def completion_answer() -> bytes:
    return OK + b"content-length: 2\r\n\r\n{}"
