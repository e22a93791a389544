"""A gateway process in front of engines, with a tap before each of them, and a client that sends exact bytes.

The gateway is the product's own child process, fed the table that `remuda up` would give it; only the addresses in the
table are those of the taps.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path

from tests.engine.running import Running, poll
from tests.engine.tap import Exchange, Message, Tap, parse_messages

from remuda import spec
from remuda.fleet.gateway_process import GatewayState, GatewaySupervisor
from remuda.fleet.plan import plan_settings
from remuda.gateway.table import Endpoint, table_from_spec

ANSWER_S = 120.0
"""Longest wait for one answer; only a failure reaches it."""
LISTEN_S = 30.0
_ids = count(1)


class Front:
    """A gateway that listens on `port`, and the tap before each engine by the name of its model."""

    def __init__(self, port: int, taps: Mapping[str, Tap]) -> None:
        self.port = port
        self.taps = taps

    async def ask(
        self,
        path: str,
        body: bytes,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        chunk_bytes: int | None = None,
    ) -> tuple[Message, str]:
        """Send this body, whole or in chunks; the answer, and the id by which a tap finds the request."""
        request_id = f"test-{next(_ids)}"
        lines = [
            f"POST {path} HTTP/1.1",
            f"host: 127.0.0.1:{self.port}",
            f"content-type: {content_type}",
            f"content-length: {len(body)}" if chunk_bytes is None else "transfer-encoding: chunked",
            f"x-request-id: {request_id}",
            *(f"{name}: {value}" for name, value in {"connection": "close", **(headers or {})}.items()),
        ]
        framed = body if chunk_bytes is None else frame_chunks(body, chunk_bytes)
        return await self.send("\r\n".join([*lines, "\r\n"]).encode() + framed), request_id

    async def send(self, data: bytes) -> Message:
        """Send these bytes; the answer. The request must ask for the connection to be closed."""
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(data)
            try:
                (answer,) = parse_messages(await reader.read())
            finally:
                writer.close()
        return answer

    async def ask_through(self, model: str, path: str, body: bytes, **options: object) -> tuple[Message, Exchange]:
        """Send this body; the answer, and what passed the tap of that model's engine."""
        answer, request_id = await self.ask(path, body, **options)
        return answer, self.taps[model].exchange(request_id)

    async def ask_json(self, path: str, **fields: object) -> dict:
        """Send these fields as JSON; the JSON of the answer, which must have the status 200."""
        answer, _ = await self.ask(path, json.dumps(fields).encode())
        assert answer.status == 200, answer.body
        return json.loads(answer.body)


def frame_chunks(body: bytes, chunk_bytes: int) -> bytes:
    """The body in the chunked transfer coding, in chunks of this size."""
    pieces = [body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


@contextlib.asynccontextmanager
async def open_front(engines: Sequence[tuple[spec.Model, Running]], folder: Path) -> AsyncIterator[Front]:
    """Start a gateway in front of these engines; it and the taps are gone afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        taps = {model.name: await stack.enter_async_context(Tap(running.status.port)) for model, running in engines}
        endpoints = {name: (Endpoint(f"{name}-0", "127.0.0.1", tap.port),) for name, tap in taps.items()}
        loaded = spec.Loaded(models=tuple(model for model, _ in engines))
        settings = asdict(plan_settings(loaded, 0))
        gateway = GatewaySupervisor(settings, lambda _status: None, folder / "gateway.log")
        gateway.send_table(table_from_spec(loaded, endpoints))
        running = asyncio.create_task(gateway.run())
        try:
            await poll(lambda: running.done() or gateway.status.state is GatewayState.LISTENING, LISTEN_S)
            assert not running.done(), (folder / "gateway.log").read_text()
            yield Front(gateway.status.port, taps)
        finally:
            await gateway.drain(5.0)
            await running
