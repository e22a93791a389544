"""Sends the fleet's events to one sink, and to everybody who follows them from some moment on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from remuda.fleet.reporting.events import AnyEvent, Emit

LAST_READ_S = 2.0
"""How long a follower may take to read the last events after the end."""


class Broadcast:
    """Emits events in order. A follower that does not read costs memory, but delays nobody."""

    def __init__(self, sink: Emit) -> None:
        self._sink = sink
        self._queues: set[asyncio.Queue[AnyEvent | None]] = set()
        self._left = asyncio.Event()

    def emit(self, event: AnyEvent) -> None:
        """Send an event to the sink and to all followers."""
        self._sink(event)
        for queue in self._queues:
            queue.put_nowait(event)

    async def follow(self) -> AsyncIterator[AnyEvent]:
        """Events from now until `close`."""
        queue: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._queues.discard(queue)
            self._left.set()

    async def close(self) -> None:
        """End all followers when they have read everything, or after LAST_READ_S."""
        for queue in self._queues:
            queue.put_nowait(None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_READ_S):
                while self._queues:
                    self._left.clear()
                    await self._left.wait()
