"""What can become of a request to an engine: an answer that somebody takes, or a failed attempt."""

from remuda.policy.retry import Phase


class AttemptFailed(Exception):  # noqa: N818 - the result of one attempt
    """One attempt ended without an answer. `stale`: the engine had already closed this kept-alive connection."""

    def __init__(self, phase: Phase, detail: str, *, timed_out: bool = False, stale: bool = False) -> None:
        super().__init__(detail)
        self.phase = phase
        self.detail = detail
        self.timed_out = timed_out
        self.stale = stale


class Taker:
    """Takes an answer's body as it arrives. A class and not a protocol: compiled calls through a protocol are slow."""

    def take(self, payload: bytes) -> None:
        """Take the payload of one read."""
        raise NotImplementedError

    def take_chunk(self, chunk: bytes, start: int) -> None:
        """Take one chunk of whole events with its framing; its payload begins at `start` and ends before the CRLF."""
        raise NotImplementedError

    def end(self) -> None:
        """The answer is complete."""
        raise NotImplementedError

    def broken(self, detail: str) -> None:
        """The answer ends here, before its end."""
        raise NotImplementedError
