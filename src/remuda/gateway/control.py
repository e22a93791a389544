"""The process entry a supervisor uses: settings and tables come in over an inherited socket, events go out.

JSON lines. In: {"settings": …} once, then {"table": …} now and on each change. Out: {"event": "listening", "port": …},
{"event": "drained", "clean": …}, {"event": "problem", "message": …, "hint": …}. The end of what comes in = the parent
is gone or wants us gone: drain and exit. Imports nothing heavy: this process starts in well under half a second.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator

import msgspec

from remuda.gateway.app import run_gateway
from remuda.gateway.errors import GatewayError
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Table
from remuda.observe.logs import configure_logging

_LINE_BYTES = 64 * 1024 * 1024


class _Message(msgspec.Struct):
    """One line in."""

    settings: GatewaySettings | None = None
    table: Table | None = None


class ControlSocket:
    """Both directions: a TableSource and an Observer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decode = msgspec.json.Decoder(_Message).decode

    async def read(self) -> _Message | None:
        """The next line; None at the end."""
        try:
            line = await self._reader.readline()
        except (ConnectionError, ValueError):
            return None
        return self._decode(line) if line.endswith(b"\n") else None

    async def watch(self) -> AsyncIterator[Table]:
        while (message := await self.read()) is not None:
            if message.table is not None:
                yield message.table

    def tell(self, **event: object) -> None:
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(event) + b"\n")

    def listening(self, host: str, port: int) -> None:
        self.tell(event="listening", host=host, port=port)

    def drained(self, clean: bool) -> None:
        self.tell(event="drained", clean=clean)

    async def close(self) -> None:
        try:
            await self._writer.drain()
            self._writer.close()
            await self._writer.wait_closed()
        except OSError:
            pass  # the parent is gone; there is nobody to tell


async def _serve(fd: int) -> int:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd), limit=_LINE_BYTES)
    control = ControlSocket(reader, writer)
    try:
        message = await control.read()
        if message is None or message.settings is None:
            raise GatewayError("the first line must be the settings")
        configure_logging(message.settings.log_format, message.settings.log_level, sys.stderr)
        await run_gateway(message.settings, control, control)
    except (GatewayError, msgspec.MsgspecError) as error:
        hint = error.hint if isinstance(error, GatewayError) else ""
        text = error.message if isinstance(error, GatewayError) else f"what the parent sent makes no sense: {error}"
        control.tell(event="problem", message=text, hint=hint)
        return 1
    finally:
        await control.close()
    return 0


def run_from_socket(fd: int) -> int:
    """Serve as the supervisor on the other end of `fd` says; the exit status."""
    import uvloop

    return uvloop.run(_serve(fd))
