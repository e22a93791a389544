"""The tap: it passes bytes on unchanged, pairs requests with answers, and reads HTTP strictly."""

import asyncio

import pytest
from tests.engine.tap import Tap, parse_messages

REQUEST = b"POST /%d HTTP/1.1\r\nHost: a\r\nX-Request-Id: %b\r\nContent-Length: 3\r\n\r\nabc"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ndata: \r\n3\r\nx\n\n\r\n0\r\n\r\n"


class CannedEngine:
    """Answers the requests of a connection with these answers, in pieces of seven bytes."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = answers

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in self._answers:
            await reader.readuntil(b"abc")
            for start in range(0, len(answer), 7):
                writer.write(answer[start : start + 7])
                await writer.drain()
        writer.close()


async def test_every_byte_passes_and_each_answer_belongs_to_its_request():
    server = await asyncio.start_server(CannedEngine(WHOLE, CHUNKED), "127.0.0.1", 0)
    async with server, Tap(server.sockets[0].getsockname()[1]) as tap:
        reader, writer = await asyncio.open_connection("127.0.0.1", tap.port)
        writer.write(REQUEST % (1, b"first") + REQUEST % (2, b"second"))
        assert await reader.read() == WHOLE + CHUNKED
        writer.close()
        assert [request.start for request in tap.requests()] == ["POST /1 HTTP/1.1", "POST /2 HTTP/1.1"]
        first, second = tap.exchange("first"), tap.exchange("second")
        assert (first.request.body, first.answer.body, first.answer.chunked) == (b"abc", b"whole", False)
        assert (second.answer.body, second.answer.chunked) == (b"data: x\n\n", True)
        assert second.answer.events == [b"data: x"]
        assert tap.exchanges("third") == []


async def test_an_engine_that_is_gone_closes_the_clients_connection():
    server = await asyncio.start_server(CannedEngine(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with Tap(port) as tap:
        reader, writer = await asyncio.open_connection("127.0.0.1", tap.port)
        assert await reader.read() == b""
        writer.close()


def test_a_message_that_is_not_complete_is_left_out():
    for size in range(len(CHUNKED)):
        assert [message.body for message in parse_messages(WHOLE + CHUNKED[:size])] == [b"whole"]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\n", "nothing says where it ends", id="no length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "a chunked message has a content-length too",
            id="two lengths",
        ),
        pytest.param(CHUNKED.replace(b"6\r\n", b"5\r\n"), "a chunk is longer than it says", id="size of a chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nname : x\r\n\r\n", "name : x", id="space before the colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nname\r\n\r\n", "name", id="no colon"),
    ],
)
def test_what_has_more_than_one_reading_is_an_error(data, complaint):
    with pytest.raises(AssertionError, match=complaint):
        parse_messages(data)


def test_a_header_that_stands_there_twice_has_no_value():
    (answer,) = parse_messages(WHOLE.replace(b"Content", b"a: 1\r\nA: 2\r\nContent", 1))
    assert answer.names == ["a", "a", "content-length"]
    with pytest.raises(AssertionError, match="a stands there 2 times"):
        answer.header("a")


def test_a_stream_that_ends_within_an_event_is_an_error():
    (answer,) = parse_messages(CHUNKED.replace(b"x\n\n", b"x\ny"))
    with pytest.raises(AssertionError, match="the stream ends within an event"):
        answer.events  # noqa: B018 - reading it is the test
