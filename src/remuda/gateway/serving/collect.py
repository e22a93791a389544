"""An engine's whole answer, in memory: for routes whose answer is translated, and for the gateway's own questions."""

from time import monotonic
from typing import Final

from remuda.gateway.upstream.connection import Upstream
from remuda.gateway.upstream.pool import Pool
from remuda.gateway.upstream.taker import Taker
from remuda.gateway.waiting import Signal, as_future


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

    def collect(self, idle_timeout_s: float) -> Signal[bytes]:
        """Set with the answer; fails with AnswerBroken."""
        if self._size > self._limit:
            self._finished.fail(AnswerBroken(f"its answer is larger than {self._limit} bytes"))
        elif self._upstream.complete:
            self._finished.set(self._parts[0])
        else:
            self._upstream.relay_to(self, idle_timeout_s)
        return self._finished

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


_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""A page of metrics has about 100 KB."""


async def ask_engine(pool: Pool, head: bytes, body: bytes, timeout_s: float) -> tuple[int, bytes]:
    """(status, body) of the answer. Raises AttemptFailed or AnswerBroken; the caller bounds the whole time."""
    upstream = await pool.open_connection(for_once=True)
    try:
        await as_future(upstream.send(head, body, monotonic() + timeout_s))
        answer = await as_future(Collector(upstream, _ANSWER_BYTES).collect(timeout_s))
        return upstream.head.status, answer
    finally:
        upstream.release()
