"""`python bare.py --port N --model NAME --engines PORT [PORT...]`: the least that a gateway written in Python costs.

The contestant `bare` of the tables. It does what every LLM gateway must do, and nothing more: it finds the model in the
request's JSON, picks the engine with the fewest requests that served this prompt's beginning before, keeps connections
alive on both sides, gives each request an id, counts times to first byte in a histogram and notices the event that
states the usage. It relays the engine's bytes as they come, so it can only sit between HTTP/1.1 peers that it trusts.

It knows no API keys, no limits, no health checks, no deadlines, no metrics page and no engine that fails after its
answer began. The difference between `remuda` and `bare` is what those cost.
"""

import argparse
import asyncio
import contextlib
import gc
import itertools
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import cast

import httptools
import msgspec
import uvloop

BLOCK_BYTES = 256
PREFIXES_MOST = 200_000
CONNECT_S = 5.0
TTFT_BUCKETS = 24
"""Bucket n counts answers that began after less than 2^n microseconds."""
NOT_FOR_ENGINE = frozenset(
    {
        *(b"connection", b"keep-alive", b"host", b"te", b"upgrade", b"proxy-connection", b"transfer-encoding"),
        *(b"content-length", b"expect"),
    }
)
NOT_FOR_CLIENT = frozenset({b"connection", b"keep-alive", b"proxy-connection"})


class Message(msgspec.Struct):
    """One message of a chat; its content stays undecoded."""

    content: msgspec.Raw = msgspec.Raw(b"")


class Ask(msgspec.Struct):
    """The fields of a request that decide where it goes."""

    model: str
    stream: bool = False
    messages: list[Message] = []


class Engine:
    """An engine and its idle connections."""

    __slots__ = ("host_line", "idle", "in_flight", "name", "port")

    def __init__(self, port: int) -> None:
        self.port = port
        self.name = b"127.0.0.1:%d" % port
        self.host_line = b"host: %b\r\n" % self.name
        self.in_flight = 0
        self.idle: list[EngineConnection] = []


class Gateway:
    """What all connections share: the models' engines, the table of prefixes, the counters."""

    def __init__(self, models: Mapping[str, list[Engine]]) -> None:
        self.models = models
        self.decode = msgspec.json.Decoder(Ask).decode
        self.ttft = [0] * TTFT_BUCKETS
        self.served = self.failed = self.usages = 0
        self._prefixes: dict[int, Engine] = {}
        self._order: deque[int] = deque()
        self._ids = itertools.count(1)
        self._id_start = os.urandom(6).hex().encode()

    def new_request_id(self) -> bytes:
        return b"%b-%x" % (self._id_start, next(self._ids))

    def pick_engine(self, engines: list[Engine], messages: Sequence[Message]) -> Engine:
        """The engine that served the longest beginning of this prompt, unless it has many more requests than others."""
        blocks = hash_blocks(b"".join([bytes(message.content) for message in messages]))
        prefixes = self._prefixes
        engine: Engine | None = None
        for count in range(len(blocks), 0, -1):
            engine = prefixes.get(blocks[count - 1])
            if engine is not None:
                if count * 2 < len(blocks) or engine.in_flight >= 64 + 2 * min(other.in_flight for other in engines):
                    engine = None
                break
        if engine is None:
            engine = pick_least_loaded(engines)
        for block in blocks:
            if prefixes.get(block) is not engine:
                prefixes[block] = engine
                self._order.append(block)
        while len(self._order) > PREFIXES_MOST:
            prefixes.pop(self._order.popleft(), None)
        return engine


def pick_least_loaded(engines: list[Engine]) -> Engine:
    """The first engine with the fewest requests; idle engines take turns."""
    best = engines[0]
    for engine in engines:
        if engine.in_flight < best.in_flight:
            best = engine
    if not best.in_flight:
        engines.append(engines.pop(0))
    return best


def hash_blocks(text: bytes) -> list[int]:
    """One hash for each whole block of `text`; it covers the block and everything before it."""
    hashes = []
    chain = 0
    for start in range(0, len(text) - BLOCK_BYTES + 1, BLOCK_BYTES):
        chain = hash((chain, text[start : start + BLOCK_BYTES]))
        hashes.append(chain)
    return hashes


class EngineConnection(asyncio.Protocol):
    """One connection to an engine: one request at a time, its answer relayed as it comes."""

    __slots__ = (
        *("_began", "_client", "_complete", "_engine", "_gateway", "_head", "_headers", "_keep_alive", "_parser"),
        *("_request", "_reused", "_sent_s", "lost", "transport"),
    )

    transport: asyncio.Transport

    def __init__(self, gateway: Gateway, engine: Engine) -> None:
        self._gateway = gateway
        self._engine = engine
        self._parser = httptools.HttpResponseParser(self)
        self._client: ClientConnection | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head = b""
        self._request = b""
        self._sent_s = 0.0
        self._began = self._complete = self._keep_alive = self._reused = False
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, client: "ClientConnection", request: bytes) -> None:
        self._client = client
        self._request = request
        self._headers = []
        self._began = self._complete = False
        self._sent_s = time.monotonic()
        self.transport.write(request)

    # ---- from the parser: nothing per chunk

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_message_complete(self) -> None:
        self._complete = True
        self._keep_alive = self._parser.should_keep_alive()

    # ---- from the loop

    def data_received(self, data: bytes) -> None:
        client = self._client
        if client is None:
            self.transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail()
            return
        if self._began:
            client.transport.write(data)
        else:
            self._begin(client, self._head + data if self._head else data)
        if b'"usage"' in data:
            self._gateway.usages += 1
        if self._complete:
            self._finish(client)

    def _begin(self, client: "ClientConnection", data: bytes) -> None:
        """Write the answer's head and what came with it, once the head is whole."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._head = data
            return
        self._began = True
        self._head = self._request = b""
        took_us = int((time.monotonic() - self._sent_s) * 1e6)
        self._gateway.ttft[min(TTFT_BUCKETS - 1, took_us.bit_length())] += 1
        parts = [b"HTTP/1.1 %d OK\r\n" % self._parser.get_status_code()]
        for name, value in self._headers:
            if name.lower() not in NOT_FOR_CLIENT:
                parts.append(b"%b: %b\r\n" % (name, value))
        parts.append(b"x-request-id: %b\r\nx-engine: %b\r\n" % (client.request_id, self._engine.name))
        parts.append(data[end + 2 :])
        client.transport.write(b"".join(parts))

    def _finish(self, client: "ClientConnection") -> None:
        self._client = None
        self._engine.in_flight -= 1
        self._gateway.served += 1
        self._reused = True
        if self._keep_alive and not self.transport.is_closing():
            self._engine.idle.append(self)
        else:
            self.transport.close()
        client.on_answered()

    def _fail(self) -> None:
        """Ask again on another connection when the engine only closed an idle one; else tell the client."""
        self.lost = True
        self.transport.abort()
        client, self._client = self._client, None
        if client is None:
            return
        self._engine.in_flight -= 1
        self._gateway.failed += 1
        if self._began:
            client.transport.abort()
        elif self._reused and self._request:
            client.forward(self._request, self._engine)
        else:
            client.answer(b"502 Bad Gateway", b'{"error":{"message":"the engine failed"}}')

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.lost = True
        if self._client is not None:
            self._fail()
        else:
            with contextlib.suppress(ValueError):
                self._engine.idle.remove(self)

    def drop_client(self) -> None:
        """The client has gone: the connection ends, and with it the request."""
        self._client = None
        self.lost = True
        self._engine.in_flight -= 1
        self.transport.abort()


class ClientConnection(asyncio.Protocol):
    """One client: requests in, one after the other."""

    __slots__ = (
        *("_body", "_busy", "_closed", "_engine_connection", "_gateway", "_headers", "_keep_alive", "_parser"),
        *("_target", "_waiting", "request_id", "transport"),
    )

    transport: asyncio.Transport

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._parser = httptools.HttpRequestParser(self)
        self._target = self._body = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._engine_connection: EngineConnection | None = None
        self._waiting: deque[tuple[bytes, list[tuple[bytes, bytes]], bytes, bool]] = deque()
        self._busy = self._closed = False
        self._keep_alive = True
        self.request_id = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    # ---- from the parser

    def on_message_begin(self) -> None:
        self._target = self._body = b""
        self._headers = []

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        request = self._target, self._headers, self._body, self._parser.should_keep_alive()
        if self._busy:
            self._waiting.append(request)
        else:
            self._serve(*request)

    # ---- one request

    def _serve(self, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes, keep_alive: bool) -> None:
        self._busy = True
        self._keep_alive = keep_alive
        if not target.startswith(b"/v1/"):
            self.answer(b"404 Not Found", b'{"error":{"message":"unknown path"}}')
            return
        try:
            ask = self._gateway.decode(body)
        except msgspec.MsgspecError:
            self.answer(b"400 Bad Request", b'{"error":{"message":"the body is not a request"}}')
            return
        engines = self._gateway.models.get(ask.model)
        if engines is None:
            self.answer(b"404 Not Found", b'{"error":{"message":"unknown model"}}')
            return
        engine = self._gateway.pick_engine(engines, ask.messages)
        self.request_id = self._gateway.new_request_id()
        parts = [b"POST ", target, b" HTTP/1.1\r\n", engine.host_line]
        for name, value in headers:
            if name.lower() not in NOT_FOR_ENGINE:
                parts += (name, b": ", value, b"\r\n")
        parts += (b"x-request-id: ", self.request_id, b"\r\ncontent-length: %d\r\n\r\n" % len(body), body)
        self.forward(b"".join(parts), engine)

    def forward(self, request: bytes, engine: Engine) -> None:
        """Send the request on an idle connection, or on a new one."""
        engine.in_flight += 1
        idle = engine.idle
        while idle:
            connection = idle.pop()
            if not connection.lost and not connection.transport.is_closing():
                self._engine_connection = connection
                connection.send(self, request)
                return
        task = asyncio.get_running_loop().create_task(self._connect(request, engine))
        task.add_done_callback(asyncio.Task.result)

    async def _connect(self, request: bytes, engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_connection(
                    lambda: EngineConnection(self._gateway, engine), "127.0.0.1", engine.port
                )
        except OSError:  # a TimeoutError is one
            engine.in_flight -= 1
            self.answer(b"502 Bad Gateway", b'{"error":{"message":"the engine cannot be reached"}}')
            return
        if self._closed:
            engine.in_flight -= 1
            connection.transport.abort()
            return
        self._engine_connection = connection
        connection.send(self, request)

    def answer(self, status: bytes, body: bytes) -> None:
        """An answer of the gateway's own."""
        if not self._closed:
            head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
            self.transport.write(head + body)
            self.on_answered()

    def on_answered(self) -> None:
        """The answer is written: serve the next request, or close."""
        self._engine_connection = None
        self._busy = False
        if self._closed:
            return
        if not self._keep_alive:
            self.transport.close()
        elif self._waiting:
            self._serve(*self._waiting.popleft())

    # ---- from the loop

    def pause_writing(self) -> None:
        if self._engine_connection is not None:
            self._engine_connection.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._engine_connection is not None:
            self._engine_connection.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._closed = True
        connection, self._engine_connection = self._engine_connection, None
        if connection is not None:
            connection.drop_client()


async def serve(port: int, model: str, engine_ports: Sequence[int]) -> None:
    """Serve on loopback until the process is told to end."""
    gateway = Gateway({model: [Engine(port) for port in engine_ports]})
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ClientConnection(gateway), "127.0.0.1", port, backlog=4096)
    gc.collect()
    gc.freeze()
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="A bare data path in Python, to compare with.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--engines", type=int, nargs="+", required=True, metavar="PORT")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.model, options.engines))


if __name__ == "__main__":
    main()
