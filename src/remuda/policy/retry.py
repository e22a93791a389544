"""Whether a failed attempt may be repeated on another engine, and the budget that bounds all retries together.

A dying engine fails all its requests at once. If all of them were repeated, they would overload the other engines. So
retries are paid from a budget that requests fill: at most `ratio` retries per request over time, plus a small steady
rate, so that a gateway with little traffic can retry at all. Does not know why an attempt failed.
"""

import enum


class Phase(enum.IntEnum):
    """How far an attempt had come when it failed; later phases compare greater."""

    CONNECT = 0
    """Nothing was sent: the engine never saw the request."""
    SENT = 1
    """Something was sent and nothing received: the engine may have worked on it."""
    STREAMING = 2
    """The client has received part of the answer: repeating would send it twice."""


class RetryBudget:
    """A token bucket: each request adds `ratio`, time adds `per_s`, a retry takes one; never more than `most`."""

    __slots__ = ("_at", "_most", "_per_s", "_ratio", "_tokens")

    def __init__(self, ratio: float, per_s: float, most: float, now_at: float) -> None:
        self._ratio = ratio
        self._per_s = per_s
        self._most = most
        self._tokens = most
        self._at = now_at

    def count_request(self) -> None:
        """A request begins its first attempt."""
        tokens = self._tokens + self._ratio
        self._tokens = min(self._most, tokens)

    def take(self, now_at: float) -> bool:
        """Pay for one retry; False when the budget is spent. A clock that goes backwards adds nothing."""
        if now_at > self._at:
            self._tokens = min(self._most, self._tokens + (now_at - self._at) * self._per_s)
            self._at = now_at
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def may_retry(phase: Phase, safe: bool, attempts: int, most_attempts: int) -> bool:
    """Whether the request may be tried again, before the budget is asked.

    safe       repeating has no effect beyond the answer (true of inference; false of anything that stores)
    attempts   attempts made so far, the failed one included
    """
    if phase is Phase.STREAMING or attempts >= most_attempts:
        return False
    return phase is Phase.CONNECT or safe
