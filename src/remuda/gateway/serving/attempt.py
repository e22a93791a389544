"""One request sent to one engine. It owns a share of the engine's load, and a connection, until it is closed, once.

The module does not know whether another attempt follows.
"""

from time import monotonic
from typing import Final

from remuda.gateway.record.record import AttemptRecord
from remuda.gateway.serving.live_engine import LiveEngine
from remuda.gateway.upstream.connection import Upstream
from remuda.gateway.upstream.taker import AttemptFailed
from remuda.policy.retry import Phase
from remuda.vllm import markers

_PREAMBLE_BYTES: Final = 4 << 20
"""Events that come before an answer are held back up to here: /v1/responses repeats the whole request in them."""


class Attempt(AttemptRecord):
    """See the module."""

    upstream: Upstream

    def __init__(self, engine: LiveEngine, prompt_tokens: int) -> None:
        self.engine_id = engine.endpoint.id
        self.failure = ""
        self.previous = None
        self.heard_at = 0.0
        self.engine = engine
        self._prompt_tokens = prompt_tokens
        self._ahead = engine.load.lease(prompt_tokens)
        self._connected = self._answered = self.closed = False
        self.started_at = monotonic()

    async def send(self, head: bytes, body: bytes | list[bytes | memoryview], first_byte_timeout_s: float) -> None:
        """Send the request and wait until its answer begins. Raises AttemptFailed; is closed on every other way out.

        A kept-alive connection that the engine has closed in the meantime is no failure: it is replaced once.
        """
        pool = self.engine.pool
        deadline_at = self.started_at + first_byte_timeout_s
        try:
            fresh = False
            while True:
                upstream = self.upstream = pool.take_idle(fresh) or await pool.connect()
                self._connected = True
                try:
                    await upstream.send(head, body, deadline_at)
                    break
                except AttemptFailed as failure:
                    if fresh or not failure.stale:
                        raise
                    upstream.release()
                    fresh = True
            if upstream.head.fault:
                raise AttemptFailed(Phase.SENT, upstream.head.fault)
            if upstream.head.streams:
                await self._wait_for_work(upstream)
            elif upstream.complete and markers.is_interrupted(upstream.peek(), streams=False):
                raise AttemptFailed(Phase.SENT, "it was stopped while it worked on the request")
            self._begin_answer(upstream)
        except BaseException:  # the client leaving is thrown in here; an attempt is closed on every exit
            self.close()
            raise

    async def _wait_for_work(self, upstream: Upstream) -> None:
        """A stream begins when the engine has worked on the request: until then another engine can still take it."""
        if markers.begins_at_once(upstream.peek()):
            return
        while True:
            first = upstream.peek()
            start = markers.find_answer_start(first)
            if start >= 0 or len(first) > _PREAMBLE_BYTES:
                break
            if upstream.complete:
                raise AttemptFailed(Phase.SENT, "it ended the stream before it had begun to answer")
            await upstream.wait_for_more()
        if start >= 0 and markers.is_error_event(first[start:]):
            raise AttemptFailed(Phase.SENT, "it failed while it worked on the request")

    def _begin_answer(self, upstream: Upstream) -> None:
        """Only the first byte of a stream tells how fast the engine reads prompts."""
        self._answered = True
        self.heard_at = upstream.heard_at
        load = self.engine.load
        load.answered(self._prompt_tokens)
        if upstream.head.streams:
            load.measure(self._ahead, upstream.heard_at - self.started_at)
            self.engine.measured_at = upstream.heard_at

    def close(self) -> None:
        """It is over, however it ended."""
        if self.closed:
            return
        self.closed = True
        load = self.engine.load
        if not self._answered:
            load.answered(self._prompt_tokens)
        load.release()
        if self._connected:
            self.upstream.release()
