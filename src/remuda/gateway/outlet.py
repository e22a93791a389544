"""Bytes out of one connection: straight into the socket while it takes them, through the transport's buffer otherwise.

uvloop keeps every write until the end of its turn. With hundreds of streams that is a second walk over memory that has
left the cache by then, and each answer goes out later than it could. Does not know what it sends. Used by `listen` and
`upstream`.
"""

import asyncio
import os
import socket
from typing import Final

_NO_SOCKET: Final = -1


class Outlet:
    """The only way out of one transport. Order, back-pressure and closing stay the transport's business."""

    __slots__ = ("_fd", "_spilled", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._spilled = False
        """Whether the transport was given bytes that it may still hold."""
        self._fd = _NO_SOCKET
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None and transport.get_extra_info("sslcontext") is None:
            self._fd = sock.fileno()

    def write(self, data: bytes) -> None:
        """Send `data` behind all that was written before."""
        transport = self._transport
        # A closing transport may have given its number to another connection already.
        if self._fd < 0 or transport.is_closing() or (self._spilled and self._is_waiting()):
            transport.write(data)
            return
        try:
            sent = os.write(self._fd, data)
        except OSError:  # full, or gone: the transport finds out which
            sent = 0
        if sent < len(data):
            self._spilled = True
            transport.write(data[sent:])

    def _is_waiting(self) -> bool:
        self._spilled = self._transport.get_write_buffer_size() > 0
        return self._spilled
