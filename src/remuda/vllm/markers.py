"""How vLLM says that it failed: marks that tell its own endings from an answer.

A dying or draining engine ends streams politely: with an `abort` finish reason, or with an error event inside a 200
answer, followed by `[DONE]`. None of that is a completed answer. Pure functions on bytes: nothing is decoded. Observed
on vLLM 0.32.0.

What cannot be told: on /v1/messages, and on /v1/responses of models without the Harmony format, vLLM 0.32 reports an
aborted answer as a completed one.
"""

import re
from typing import Final

ABORT: Final = b'"finish_reason":"abort"'
"""In the last event of a stream, or in a whole answer, of an engine that was told to stop."""
_ABORT_WORD: Final = b"abort"
_ABORT_SPACED: Final = b'"finish_reason": "abort"'
"""The same from servers that write JSON with spaces."""
_CANCELLED: Final = b'"status":"cancelled"'
"""The same on /v1/responses."""

_DATA: Final = b"data: "
IN_BAND_ERROR: Final = b'data: {"error"'
"""Begins an event inside a 200 stream when the core died."""
ERROR_EVENTS: Final = (IN_BAND_ERROR, b"event: error\n", b"event: error\r\n", b"event: response.failed\n")
"""The same in every dialect: OpenAI's, Anthropic's (/v1/messages), the Responses API's."""

_PREAMBLE: Final = re.compile(
    rb"(?:(?::[^\n]*\n+)|(?:event: response\.(?:created|in_progress)\r?\ndata: [^\n]*\n\r?\n))*"
)
"""Comments, and the events that /v1/responses sends before the engine has begun to work."""
_PREAMBLE_STARTS: Final = (
    b":",
    b"event: response.created\n",
    b"event: response.created\r\n",
    b"event: response.in_progress\n",
    b"event: response.in_progress\r\n",
)
_UNDECIDED: Final = (*ERROR_EVENTS, *_PREAMBLE_STARTS)
"""What a first event may still become while only its first bytes are here."""

_DRAINING: Final = b"cannot schedule new futures after shutdown"
"""Body of the 500 that a draining engine answers to new requests."""
_BUSY: Final = b"The engine is currently busy and cannot accept new requests"
_BACKLOG: Final = b"The engine has reached its prefill token backlog limit"
"""Bodies of the 503 answers of an engine that is full (--max-num-queued-reqs, --max-num-queued-tokens)."""

ENGINE_FAULT_STATUSES: Final = frozenset({500, 502, 503, 504})
"""Statuses that count against an engine. 4xx is the client's; 501 is a route that this engine does not have."""


def is_error_event(data: bytes) -> bool:
    """Whether the first event here says that the engine failed."""
    return data.startswith(ERROR_EVENTS)


def begins_at_once(data: bytes) -> bool:
    """Whether a stream begins with an ordinary event of OpenAI's dialect, as nearly every stream does."""
    start = data[: len(IN_BAND_ERROR)]
    return start.startswith(_DATA) and not IN_BAND_ERROR.startswith(start)


def find_answer_start(data: bytes) -> int:
    """Where a stream's answer begins, behind the events that vLLM sends before it has worked on the request.

    -1 while it has not begun: all of `data` is preamble, or may be preamble or an error once more bytes arrive.
    """
    match = _PREAMBLE.match(data)
    assert match is not None
    start = match.end()
    rest = data[start:]
    if rest.startswith(_PREAMBLE_STARTS) or any(mark.startswith(rest) and mark != rest for mark in _UNDECIDED):
        return -1
    return start


def is_interrupted(ending: bytes, streams: bool) -> bool:
    """Whether an answer that ends like this was stopped by its engine. `ending`: its last events, or all of it."""
    if ending.find(_ABORT_WORD) >= 0:  # both spellings at once; hardly any answer has the word
        if ending.find(ABORT) >= 0:
            return True
        if not streams:
            return ending.find(_ABORT_SPACED) >= 0
    return streams and _has_error(ending)


def _has_error(ending: bytes) -> bool:
    return any(ending.find(mark) >= 0 for mark in ERROR_EVENTS) or ending.find(_CANCELLED) >= 0


def is_draining(status: int, body: bytes) -> bool:
    """Whether an engine answers like this because it shuts down: the request is not at fault."""
    return status == 500 and body.find(_DRAINING) >= 0


def is_overload(status: int, body: bytes) -> bool:
    """Whether an engine answers like this because it is full: neither it nor the request is at fault."""
    return status == 429 or (status == 503 and (body.find(_BUSY) >= 0 or body.find(_BACKLOG) >= 0))
