"""A double of vLLM's HTTP server for faults on command: real sockets, vLLM's dialect, no model.

Each request it gets is answered by the next script in `scripts`, else by `default`. A script is given a Reply and may
send anything, close, reset or wait. What was received is kept byte for byte in `requests`.
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Script = Callable[["Reply"], Awaitable[None]]


@dataclass
class Request:
    """One request as the engine saw it."""

    head: bytes
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode()

    @property
    def json(self):
        return json.loads(self.body)


class Reply:
    """What a script can do."""

    def __init__(self, engine: "DoubleEngine", request: Request, writer: asyncio.StreamWriter, reader) -> None:
        self.engine = engine
        self.request = request
        self._writer = writer
        self._reader = reader
        self.keep = True

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, body: bytes, status: bytes = b"200 OK", headers: bytes = b"") -> None:
        await self.send(
            b"HTTP/1.1 %b\r\ndate: Sat, 21 Nov 2026 12:00:00 GMT\r\nserver: uvicorn\r\ncontent-length: %d\r\n"
            b"content-type: application/json\r\n%b\r\n%b" % (status, len(body), headers, body)
        )

    async def begin_stream(self) -> None:
        await self.send(
            b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def event(self, text: str) -> None:
        await self.chunk(event(text))

    async def end_stream(self) -> None:
        await self.send(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    async def close(self) -> None:
        self.keep = False
        self._writer.close()

    async def reset(self) -> None:
        """RST, as a killed process with unread data or a lost machine."""
        self.keep = False
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Until the gateway has closed this connection."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(65536):
                pass
        self.keep = False


def event(text: str, finish: str | None = None) -> bytes:
    """One event of a completion stream."""
    choice = {"index": 0, "text": text, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "cmpl-1", "choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"


def completion(text: str = "hello") -> bytes:
    """A whole answer of /v1/completions."""
    body = {
        "id": "cmpl-1",
        "model": "m",
        "choices": [{"index": 0, "text": text, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "total_tokens": 12, "completion_tokens": 7},
    }
    return json.dumps(body, separators=(",", ":")).encode()


async def answer_like_vllm(reply: Reply) -> None:
    """The default: a completion, or a stream of three events."""
    if reply.request.line.startswith("GET "):
        await reply.answer(b"")
    elif b'"stream":true' in reply.request.body.replace(b" ", b""):
        await reply.begin_stream()
        for word in ("one", "two", "three"):
            await reply.event(word)
        await reply.end_stream()
    else:
        await reply.answer(completion())


class DoubleEngine:
    """One engine on a loopback port."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.scripts: deque[Script] = deque()
        self.default: Script = answer_like_vllm
        self.connections = 0
        """Connections that carried a request; those of probes are not counted."""
        self.probes = 0
        self.healthy = True
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()

    async def start(self, port: int = 0) -> "DoubleEngine":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """As a killed process: the port refuses, every connection is reset."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close_idle(self) -> None:
        """As uvicorn's keep-alive timeout."""
        for writer in list(self._writers):
            writer.close()

    @property
    def open_connections(self) -> int:
        return len(self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve_requests(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _serve_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        used = False
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")[1:-2]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            request = Request(head, body, headers)
            reply = Reply(self, request, writer, reader)
            if head.startswith(b"GET /health "):
                self.probes += 1
                await reply.answer(b"", b"200 OK" if self.healthy else b"503 Service Unavailable")
            else:
                self.connections += not used
                used = True
                self.requests.append(request)
                script = self.scripts.popleft() if self.scripts else self.default
                await script(reply)
            if not reply.keep or headers.get("connection") == "close":
                return
