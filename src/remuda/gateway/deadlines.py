"""Deadlines of all connections, looked at by one timer.

One timer for the process instead of one per connection: ten thousand idle connections cost half a millisecond a second.
Does not know what a deadline means: its owner is called.
"""

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final, Protocol

NEVER: Final = float("inf")
"""The deadline of something that may take as long as it likes."""


class Timed(Protocol):
    """Something with a deadline, in seconds of the monotonic clock."""

    deadline_at: float

    def on_deadline(self, now_at: float) -> None: ...


class Sweeper:
    """At every tick, calls `on_deadline` of each object that is overdue, then each function of `also`."""

    def __init__(
        self,
        tick_s: float,
        watched: Callable[[], Iterable[Iterable[Timed]]],
        also: Iterable[Callable[[float], None]],
    ) -> None:
        self._tick_s = tick_s
        self._watched = watched
        self._also = tuple(also)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._sweep)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        now_at = monotonic()
        self.start()
        for group in self._watched():
            for overdue in [timed for timed in group if timed.deadline_at <= now_at]:
                overdue.on_deadline(now_at)
        for tick in self._also:
            tick(now_at)
