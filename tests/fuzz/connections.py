"""Target: a client connection, with everything that happens between its bytes. The inputs are those of `requests`.

The rules, however the bytes are cut and whatever happens between two reads:

* The requests that are served are those that the parsers read one after the other, in the same order, each once.
* Each is answered once, and nothing else is written but a refusal of what is no request.
* Reading does not stay paused while the connection waits for the client.
"""

import asyncio
import dataclasses
import re
from collections.abc import Coroutine
from random import Random
from typing import Any
from unittest import mock

from tests.fuzz import requests
from tests.fuzz.running import Reading, RuleBrokenError, Target, cut

from remuda.gateway.http import connection
from remuda.gateway.http.body import BadBody
from remuda.gateway.http.clients import Clients
from remuda.gateway.http.connection import Connection
from remuda.gateway.http.exchange import ClientGone, Exchange, Handler
from remuda.gateway.http.head import BadHead
from remuda.gateway.http.refusal import Refusal
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.waiting import Signal

SETTINGS = dataclasses.replace(GatewaySettings(), pipeline_bytes=64)
SMALL = {"_SLICE_BYTES": 16, "_TURN_BYTES": 100, "_BURST": 2}
"""Bounds after which other connections get their turn, so small that the inputs reach them."""
MOST_BYTES = 3000
"""Of an input: longer ones take long and show nothing else."""
TURNS = 100 + MOST_BYTES // min(SMALL["_SLICE_BYTES"], SMALL["_BURST"])
"""Turns of the event loop after which everything that can go on without the client has gone on."""
ANSWERS = re.compile(rb"(?:HTTP/1\.1 \d{3} [^\r\n]+\r\n(?:[^\r\n]+\r\n)*\r\n)*")
STATUS = re.compile(rb"^HTTP/1\.1 (\d{3}) ", re.MULTILINE)

Served = tuple[bytes, bytes, bytes]
"""Method, target and body."""


class Wire(asyncio.Transport):
    """A transport to a client that reads everything at once."""

    def __init__(self, link: Connection) -> None:
        super().__init__()
        self._link = link
        self.written = b""
        self.reading = True
        self.pauses = 0
        self.closing = False

    def write(self, data: Any) -> None:
        if not self.closing:
            self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reading = False
        self.pauses += 1

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self._link.connection_lost, None)

    def abort(self) -> None:
        self.close()


class Flow(Handler):
    """Reads each request and answers it with nothing, in one of several ways."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.served: list[Served] = []
        self.refusals = 0
        self.stopped = False
        """A request was refused, or answered without its body: what follows it need not be served."""

    def serve(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        return self._serve(exchange)

    async def _serve(self, exchange: Exchange) -> None:
        head = exchange.head
        way = self._rng.randrange(12)
        try:
            if way == 0:  # an answer that does not need the body
                self.served.append((head.method, head.target, b""))
                exchange.write_answer(200, b"", b"")
                self.stopped = True
                exchange.finish()
                return
            if way in {1, 2}:  # a step between head and body waits
                await self._pause()
            body = exchange.take_body(requests.BODY_BYTES)
            if body is None:
                body = await exchange.read_body(requests.BODY_BYTES)
            if way == 3:  # a step behind the body waits
                await self._pause()
            self.served.append((head.method, head.target, body))
            exchange.write_answer(200, b"", b"")
        except Refusal:
            self._refuse(exchange)
        except ClientGone:
            return
        exchange.finish()

    async def _pause(self) -> None:
        signal: Signal[None] = Signal()
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, signal.set, None)
        await signal

    def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        self._refuse(exchange)

    def _refuse(self, exchange: Exchange) -> None:
        self.refusals += 1
        self.stopped = True
        exchange.write_answer(400, b"", b"")


async def play(data: bytes, rng: Random) -> tuple[Flow, Wire]:
    """Everything that happens on one connection while the client sends `data` and then waits."""
    flow = Flow(rng)
    link = Connection(Clients(SETTINGS, flow))
    wire = Wire(link)
    link.connection_made(wire)
    for piece in cut(data, rng, most=20):
        if not wire.reading:
            await settle(link, wire)
        if wire.closing:
            break
        if not wire.reading:
            raise RuleBrokenError("reading stays paused, and the connection waits for the client")
        link.data_received(piece)
        for _ in range(rng.choice((0, 0, 1, 5))):
            await asyncio.sleep(0)
    await settle(link, wire)
    if not (wire.reading or wire.closing):
        raise RuleBrokenError("reading stays paused behind the last request")
    wire.abort()
    await asyncio.sleep(0)
    return flow, wire


async def settle(link: Connection, wire: Wire) -> None:
    """Let everything happen that can happen without the client."""
    quiet = 0
    for _ in range(TURNS):
        before = (len(wire.written), len(link._buffer), len(link._unfed), wire.reading)
        await asyncio.sleep(0)
        after = (len(wire.written), len(link._buffer), len(link._unfed), wire.reading)
        quiet = quiet + 1 if before == after else 0
        if wire.closing or quiet > 5:
            return


def read_alone(data: bytes) -> list[Served]:
    """The requests that the parsers read one after the other, without a connection."""
    served: list[Served] = []
    head = None
    try:
        for step in requests.read_ours(data, Random(0)):
            if step.body is None:
                head = step.head
            else:
                assert head is not None
                served.append((head.method, head.target, step.body))
    except (BadHead, BadBody):
        pass
    return served


def check_connections(data: bytes, rng: Random) -> Reading:
    """See the module."""
    data = data[:MOST_BYTES]
    with mock.patch.multiple(connection, **SMALL):
        flow, wire = asyncio.run(play(data, rng))
    alone = read_alone(data)
    served = flow.served
    # A request that was answered without its body may be the first one whose body never came.
    expected = alone[: len(served)] if flow.stopped else alone
    if [known[:2] for known in served[: len(expected)]] != [known[:2] for known in expected]:
        raise RuleBrokenError(f"the connection served {served}, the parsers read {alone}")
    if len(served) > len(expected) + flow.stopped or (not flow.stopped and served != alone):
        raise RuleBrokenError(f"the connection served {served}, the parsers read {alone}")
    if ANSWERS.fullmatch(wire.written) is None:
        raise RuleBrokenError(f"{wire.written!r} is not a sequence of answers")
    final = [status for status in STATUS.findall(wire.written) if status != b"100"]
    if len(final) != len(served) + flow.refusals:
        raise RuleBrokenError(f"{len(final)} answers to {len(served)} requests and {flow.refusals} refusals")
    kinds = tuple((method, len(body)) for method, _, body in served[:3])
    shape = (kinds, len(served), flow.refusals, flow.stopped, wire.pauses, b" 100 " in wire.written)
    return Reading(bool(served), shape)


TARGET = Target("connections", requests.TARGET.corpus, requests.TARGET.change, check_connections)
