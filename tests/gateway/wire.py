"""A client that sends exact bytes and reads strictly: what the tests of the data path speak."""

import asyncio
import json
from dataclasses import dataclass

DEADLINE_S = 10.0
"""For anything that must happen: only ever reached by a failure."""


@dataclass
class Response:
    """One answer. `body` is decoded from its framing, `raw` is everything as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


class Wire:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, **options) -> "Wire":
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 26, **options))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def close(self) -> None:
        self.writer.close()

    async def read(self, head_only: bool = False) -> Response:
        """The next answer; 1xx answers are returned as they come."""
        async with asyncio.timeout(DEADLINE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ")[1])
            headers: dict[str, str] = {}
            for line in lines[1:-2]:
                name, _, value = line.partition(": ")
                assert name == name.lower(), line
                assert name not in headers, line
                headers[name] = value
            body = raw = b""
            if head_only or status in {100, 204, 304}:
                pass
            elif "content-length" in headers:
                assert "transfer-encoding" not in headers
                body = raw = await self.reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                body, raw = await self._read_chunks()
            else:
                body = raw = await self.reader.read()
            return Response(status, headers, body, head + raw)

    async def _read_chunks(self) -> tuple[bytes, bytes]:
        body = raw = b""
        while True:
            data, framed = await self.read_chunk()
            body += data
            raw += framed
            if not data:
                return body, raw

    async def read_chunk(self) -> tuple[bytes, bytes]:
        """(payload, payload with its framing); the last chunk is empty."""
        async with asyncio.timeout(DEADLINE_S):
            line = await self.reader.readuntil(b"\r\n")
            size = int(line, 16)
            data = await self.reader.readexactly(size + 2)
            assert data.endswith(b"\r\n")
            return data[:-2], line + data

    async def read_head(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def closed(self) -> bytes:
        """Everything until the gateway closes."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def ask(self, data: bytes) -> Response:
        await self.send(data)
        return await self.read()


def get(path: str, headers: bytes = b"", method: bytes = b"GET") -> bytes:
    return b"%b %b HTTP/1.1\r\nhost: localhost\r\n%b\r\n" % (method, path.encode(), headers)


def post(path: str, body: bytes | dict, headers: bytes = b"") -> bytes:
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    return (
        b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%b"
        % (
            path.encode(),
            headers,
            len(body),
            body,
        )
    )


def complete(prompt: str = "hi", headers: bytes = b"", **fields) -> bytes:
    """A request to /v1/completions of the model `m`."""
    return post("/v1/completions", {"model": "m", "prompt": prompt, **fields}, headers)


async def until(condition, what: str = "condition") -> None:
    """Poll until it holds; the deadline is a failure."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - what is waited for lies in code that knows no events
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None
