"""A gateway process under a supervisor: settings and tables come in over an inherited socket, events go out.

Both directions are JSON lines.

In     {"settings": …} once; {"table": …} now and after each change; {"waiting": …}, what models without an engine wait
       for; {"figures": …} of the engines, for /metrics
Out    {"event": "listening", "port": …}; {"event": "drained", "clean": …}; {"event": "problem", "message": …,
       "hint": …}; {"event": "alive"} every second, the heartbeat by which the supervisor notices a process that hangs

When the input ends, the supervisor is gone or wants this process to end: it drains and exits. This module imports
nothing heavy, because the process must start in well under half a second.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from time import monotonic

import msgspec

from remuda.gateway.app import Gateway, open_log, run_gateway
from remuda.gateway.errors import GatewayError
from remuda.gateway.record.log_writer import LogWriter
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Table, Waiting
from remuda.observe.figures import FigureBoard, Figures

_LINE_BYTES = 64 * 1024 * 1024
_HEARTBEAT_S = 1.0
_LEAVE_S = 1.0
"""How long the last events may take to reach the supervisor. A supervisor that is stopped never reads them."""


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

    async def send_heartbeats(self, every_s: float = _HEARTBEAT_S) -> None:
        """Send the heartbeat until cancelled. While the supervisor does not read, none is added: old ones say
        nothing."""
        while True:
            if not self._writer.transport.get_write_buffer_size():
                self.tell(event="alive")
            await asyncio.sleep(every_s)

    def listening(self, host: str, port: int) -> None:
        self.tell(event="listening", host=host, port=port)

    def drained(self, clean: bool) -> None:
        self.tell(event="drained", clean=clean)

    async def close(self) -> None:
        with contextlib.suppress(
            OSError, TimeoutError
        ):  # the supervisor is gone or stopped, so nobody reads the last events
            async with asyncio.timeout(_LEAVE_S):
                await self._writer.drain()
                self._writer.close()
                await self._writer.wait_closed()
        self._writer.transport.abort()


async def _serve(fd: int) -> int:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd), limit=_LINE_BYTES)
    control = ControlSocket(reader, writer)
    heartbeats = asyncio.create_task(control.send_heartbeats())
    log_writer: LogWriter | None = None
    try:
        message = await control.read()
        if message is None or message.settings is None:
            raise GatewayError("the first line must be the settings")
        settings = message.settings
        log_writer = open_log(settings)
        gateway = Gateway(settings, control.board, log_writer)
        await run_gateway(gateway, settings, control, control)
    except (GatewayError, msgspec.MsgspecError) as error:
        hint = error.hint if isinstance(error, GatewayError) else ""
        text = (
            error.message
            if isinstance(error, GatewayError)
            else f"the supervisor sent a line that cannot be read: {error}"
        )
        control.tell(event="problem", message=text, hint=hint)
        return 1
    finally:
        heartbeats.cancel()
        await control.close()
        if log_writer is not None:
            await asyncio.to_thread(log_writer.close)
    return 0


def run_from_socket(fd: int) -> int:
    """Serve as the supervisor on the other end of `fd` says; the exit status."""
    import uvloop

    return uvloop.run(_serve(fd))
