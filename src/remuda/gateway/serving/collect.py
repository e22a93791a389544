"""An engine's whole answer, in memory: for the routes whose answer is translated."""

from remuda.gateway.upstream.connection import Taker, Upstream
from remuda.gateway.waiting import Signal


class AnswerBroken(Exception):  # noqa: N818 - the result of collecting
    """The answer stopped before its end, or is too large."""


class Collector(Taker):
    """Keeps an answer of at most `limit` bytes."""

    def __init__(self, upstream: Upstream, limit: int) -> None:
        self._upstream = upstream
        self._limit = limit
        self._parts = [upstream.take_parts()]
        self._size = len(self._parts[0])
        self._finished: Signal[bytes] = Signal()

    async def collect(self, idle_timeout_s: float) -> bytes:
        """The answer. Raises AnswerBroken."""
        if self._size > self._limit:
            raise AnswerBroken(f"its answer is larger than {self._limit} bytes")
        if self._upstream.complete:
            return self._parts[0]
        self._upstream.relay_to(self, idle_timeout_s)
        return await self._finished

    def take(self, payload: bytes) -> None:
        self._size += len(payload)
        if self._size > self._limit:
            self._finished.fail(AnswerBroken(f"its answer is larger than {self._limit} bytes"))
        else:
            self._parts.append(payload)

    def end(self) -> None:
        self._finished.set(b"".join(self._parts))

    def broken(self, detail: str) -> None:
        self._finished.fail(AnswerBroken(detail))
