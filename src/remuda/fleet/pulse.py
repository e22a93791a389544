"""Does a child still turn? It says so about once a second, and whoever keeps it looks every few seconds whether it did.

Looks are counted, never seconds: a pause of our own (a laptop asleep, this process stopped) is one look without a
beat, and by the next one the beats that waited in the socket have been read. Only several silent looks in a row are a
verdict. A beat says that the event loop turns, not that requests are answered well. Does not know what the child is,
nor ends it. Called by `gateway_child`.
"""

import asyncio
from collections.abc import Awaitable, Callable

LOOK_S = 3.0
"""Three beats fit in between two looks, so that a slow one is not a silent one."""
SILENT_LOOKS = 5
"""Fifteen seconds: longer than a loaded machine keeps a process waiting, shorter than clients wait for an answer."""


class Pulse:
    """The beats of one process after another. `wait` lets the time between two looks pass."""

    def __init__(
        self,
        look_s: float = LOOK_S,
        silent_looks: int = SILENT_LOOKS,
        wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._look_s = look_s
        self._silent_looks = silent_looks
        self._wait = wait
        self._heard = False

    @property
    def patience_s(self) -> float:
        """How long a silence may last at least."""
        return self._look_s * self._silent_looks

    def beat(self) -> None:
        """It lives."""
        self._heard = True

    async def until_silent(self) -> None:
        """Look again and again; returns after too many looks in a row that heard nothing."""
        silent = 0
        while silent < self._silent_looks:
            await self._wait(self._look_s)
            silent = 0 if self._heard else silent + 1
            self._heard = False
