"""Byte marks by which vLLM's own endings are told from a real answer, and the statuses that mean "engine, not client".

A dying or draining engine ends streams politely: with an `abort` finish reason, or with an error event inside a
200 answer, then `[DONE]`. None of that is completion. Pure constants; the gateway searches each relayed event for
them on the byte level, without decoding JSON. Observed on vLLM 0.32.0.
"""

from typing import Final

ABORT: Final = b'"finish_reason":"abort"'
"""In the last event of a stream (or in a whole answer) of an engine that was told to stop: interrupted, not done."""

ABORT_SPACED: Final = b'"finish_reason": "abort"'
"""The same written with a space: non-streamed answers of other servers; vLLM's own are compact."""

ABORT_RESPONSES: Final = b'"status":"incomplete"'
"""Responses API: an answer cut short (also by max_output_tokens: look at `incomplete_details`)."""

IN_BAND_ERROR: Final = b'data: {"error"'
"""Start of an event inside a 200 stream when the core died."""

ANTHROPIC_ERROR: Final = b"event: error"
"""The same on /v1/messages."""

DONE: Final = b"data: [DONE]"
EVENT_END: Final = b"\n\n"

ENGINE_DEAD: Final = b"EngineCore encountered an issue"
"""In the message of the error of a request that was aboard a dying engine."""

DRAINING: Final = b"cannot schedule new futures after shutdown"
"""Body of the 500 that a draining engine answers to new requests: try another engine; not a fault of the request."""

BUSY: Final = b"The engine is currently busy and cannot accept new requests"
BACKLOG: Final = b"The engine has reached its prefill token backlog limit"
"""Bodies of 503 answers of an engine that is full (--max-num-queued-reqs, --max-num-queued-tokens): overload."""

ENGINE_FAULT_STATUSES: Final = frozenset({500, 502, 503, 504})
"""Statuses that count against an engine. 4xx is the client's; 501 is a route this engine does not have."""
