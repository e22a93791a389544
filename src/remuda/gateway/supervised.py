"""The process entry a supervisor uses: settings and tables come in over an inherited socket, events go out.

JSON lines. In: {"settings": …} once, then {"table": …} now and on each change, and {"figures": …} of the engines for
/metrics. Out: {"event": "listening", "port": …}, {"event": "drained", "clean": …}, {"event": "problem", "message": …,
"hint": …}, and {"event": "alive"} every second for as long as the event loop turns, by which the parent notices a
process that hangs. The end of what comes in = the parent is gone or wants us gone: drain and exit. Imports nothing
heavy: this process starts in well under half a second.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from time import monotonic

import msgspec

from remuda.gateway.app import Gateway, open_log, run_gateway
from remuda.gateway.errors import GatewayError
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Table, Waiting
from remuda.observe.figures import FigureBoard, Figures

_LINE_BYTES = 64 * 1024 * 1024
_BEAT_S = 1.0
_LEAVE_S = 1.0
"""For the last events to reach a parent that reads; one that is stopped never will."""


class _Message(msgspec.Struct):
    """One line in."""

    settings: GatewaySettings | None = None
    table: Table | None = None
    waiting: Waiting | None = None
    figures: Figures | None = None


class ControlSocket:
    """Both directions: a TableSource and an Observer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.board = FigureBoard()
        self._decode = msgspec.json.Decoder(_Message).decode

    async def read(self) -> _Message | None:
        """The next line; None at the end."""
        try:
            line = await self._reader.readline()
        except (ConnectionError, ValueError):
            return None
        return self._decode(line) if line.endswith(b"\n") else None

    async def watch(self) -> AsyncIterator[Table | Waiting]:
        while (message := await self.read()) is not None:
            if message.figures is not None:
                self.board.take(message.figures, monotonic())
            if message.table is not None:
                yield message.table
            if message.waiting is not None:
                yield message.waiting

    def tell(self, **event: object) -> None:
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(event) + b"\n")

    async def beat(self, every_s: float = _BEAT_S) -> None:
        """Tell that we live, until cancelled. A parent that does not read is not written to: old beats say nothing."""
        while True:
            if not self._writer.transport.get_write_buffer_size():
                self.tell(event="alive")
            await asyncio.sleep(every_s)

    def listening(self, host: str, port: int) -> None:
        self.tell(event="listening", host=host, port=port)

    def drained(self, clean: bool) -> None:
        self.tell(event="drained", clean=clean)

    async def close(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):  # the parent is gone or stopped; there is nobody to tell
            async with asyncio.timeout(_LEAVE_S):
                await self._writer.drain()
                self._writer.close()
                await self._writer.wait_closed()
        self._writer.transport.abort()


async def _serve(fd: int) -> int:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd), limit=_LINE_BYTES)
    control = ControlSocket(reader, writer)
    beating = asyncio.create_task(control.beat())
    try:
        message = await control.read()
        if message is None or message.settings is None:
            raise GatewayError("the first line must be the settings")
        settings = message.settings
        gateway = Gateway(settings, control.board, open_log(settings))
        await run_gateway(gateway, settings, control, control)
    except (GatewayError, msgspec.MsgspecError) as error:
        hint = error.hint if isinstance(error, GatewayError) else ""
        text = error.message if isinstance(error, GatewayError) else f"what the parent sent makes no sense: {error}"
        control.tell(event="problem", message=text, hint=hint)
        return 1
    finally:
        beating.cancel()
        await control.close()
    return 0


def run_from_socket(fd: int) -> int:
    """Serve as the supervisor on the other end of `fd` says; the exit status."""
    import uvloop

    return uvloop.run(_serve(fd))
