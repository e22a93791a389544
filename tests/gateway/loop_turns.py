"""Looks at the gateway once in each turn of the event loop that it shares with the tests.

Whatever happens between two looks keeps everybody else waiting, so a test can bound the work of one turn by counting
instead of by a clock.
"""

import asyncio
from collections.abc import Callable
from typing import Self


class LoopTurns:
    """`async with LoopTurns(look) as turns`: `turns.seen` has what `look` returned in each turn of the loop."""

    def __init__(self, look: Callable[[], int]) -> None:
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._running = False
        self.seen: list[int] = []

    async def __aenter__(self) -> Self:
        self._running = True
        self._turn()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running = False

    def _turn(self) -> None:
        self.seen.append(self._look())
        if self._running:
            self._loop.call_soon(self._turn)

    @property
    def steps(self) -> list[int]:
        """By how much it grew in each turn; turns in which nothing happened are left out."""
        return [after - before for before, after in zip(self.seen, self.seen[1:], strict=False) if after > before]
