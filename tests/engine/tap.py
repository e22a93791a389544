"""A TCP proxy that stands between a gateway and an engine and keeps every byte of both directions.

`Tap` copies bytes unchanged and pairs the requests with the answers of each connection. `parse_messages` reads
recorded HTTP/1.1 strictly and with code of its own, so that neither the gateway's parser nor the engine's judges
itself. Does not know vLLM, models or routes.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Final, Self

LINE_END: Final = b"\r\n"
HEAD_END: Final = b"\r\n\r\n"
READ_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Message:
    """One HTTP request or answer. `body` has its framing removed."""

    start: str
    """The request line or the status line."""
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in their order."""
    head: bytes = field(repr=False)
    """The head as it was sent, with the empty line."""
    body: bytes = field(repr=False)
    chunked: bool = False

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    @property
    def names(self) -> list[str]:
        return sorted(name for name, _ in self.headers)

    def header(self, wanted: str) -> str | None:
        """The value of a header that stands there at most once."""
        values = [value for name, value in self.headers if name == wanted]
        assert len(values) <= 1, f"{wanted} stands there {len(values)} times"
        return values[0] if values else None

    @property
    def events(self) -> list[bytes]:
        """The server-sent events of the body, without their empty lines."""
        *events, rest = self.body.split(b"\n\n")
        assert rest == b"", f"the stream ends within an event: {rest!r}"
        return events


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request that reached the engine, and the engine's answer to it."""

    request: Message
    answer: Message


@dataclass(slots=True)
class Connection:
    """The bytes of one connection."""

    to_engine: bytearray = field(default_factory=bytearray)
    to_gateway: bytearray = field(default_factory=bytearray)


class Tap:
    """The proxy. `async with Tap(port_of_engine) as tap:` listens on `tap.port`."""

    def __init__(self, engine_port: int) -> None:
        self.engine_port = engine_port
        self.port = 0
        self.connections: list[Connection] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def requests(self) -> list[Message]:
        """Every request that reached the engine, health checks included."""
        return [request for each in self.connections for request in parse_messages(bytes(each.to_engine))]

    def exchanges(self, request_id: str) -> list[Exchange]:
        """Every exchange whose request carries this `X-Request-Id`, in the order in which connections were opened."""
        found = []
        for connection in self.connections:
            requests = parse_messages(bytes(connection.to_engine))
            wanted = [index for index, request in enumerate(requests) if request.header("x-request-id") == request_id]
            if wanted:
                answers = parse_messages(bytes(connection.to_gateway))
                found += [Exchange(requests[index], answers[index]) for index in wanted]
        return found

    def exchange(self, request_id: str) -> Exchange:
        """The only exchange of this id."""
        found = self.exchanges(request_id)
        assert len(found) == 1, f"{len(found)} requests with the id {request_id} reached the engine"
        return found[0]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        connection = Connection()
        self.connections.append(connection)
        writers = [writer]
        try:
            engine_reader, engine_writer = await asyncio.open_connection("127.0.0.1", self.engine_port)
            writers.append(engine_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(copy(reader, engine_writer, connection.to_engine))
                group.create_task(copy(engine_reader, writer, connection.to_gateway))
        except* ConnectionError:
            pass  # one side is gone; closing both tells the other
        finally:
            for each in writers:
                each.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: bytearray) -> None:
    """Copy until the sender is finished. A byte is recorded before it is passed on."""
    while data := await reader.read(READ_BYTES):
        record += data
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):  # the other direction has already closed it
        writer.write_eof()


def parse_messages(data: bytes) -> list[Message]:
    """Every message of one direction of a connection. The last one may still be on its way: it is left out."""
    messages = []
    position = 0
    while (end := data.find(HEAD_END, position)) >= 0:
        end += len(HEAD_END)
        start, headers = parse_head(data[position:end])
        framed = parse_body(start, dict(headers), data, end)
        if framed is None:
            return messages
        body, following = framed
        chunked = ("transfer-encoding", "chunked") in headers
        messages.append(Message(start, headers, data[position:end], body, chunked))
        position = following
    return messages


def parse_head(head: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The start line and the headers of a head."""
    start, *lines = head[: -len(HEAD_END)].decode("ascii").split("\r\n")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        assert colon, line
        assert name == name.strip(), line
        headers.append((name.lower(), value.strip(" \t")))
    return start, tuple(headers)


def parse_body(start: str, headers: dict[str, str], data: bytes, position: int) -> tuple[bytes, int] | None:
    """The body that begins at `position`, and where the next message begins; None while the body is incomplete."""
    if headers.get("transfer-encoding") == "chunked":
        assert "content-length" not in headers, "a chunked message has a content-length too"
        return parse_chunks(data, position)
    length = headers.get("content-length")
    if length is None:
        assert not start.startswith("HTTP/") or start.split(" ")[1] == "204", f"{start}: nothing says where it ends"
        return b"", position
    end = position + int(length)
    return (data[position:end], end) if end <= len(data) else None


def parse_chunks(data: bytes, position: int) -> tuple[bytes, int] | None:
    """A chunked body; None while it is incomplete."""
    body = b""
    while True:
        line_end = data.find(LINE_END, position)
        if line_end < 0:
            return None
        size = int(data[position:line_end], 16)
        start, end = line_end + 2, line_end + 2 + size
        if len(data) < end + 2:
            return None
        assert data[end : end + 2] == LINE_END, "a chunk is longer than it says"
        body += data[start:end]
        position = end + 2
        if size == 0:
            return body, position
