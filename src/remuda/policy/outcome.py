"""How a request can end: exactly one Outcome per request.

The value is the `outcome` label of `remuda_requests_total` and the `outcome` field of the access log. This module
does not know how an answer looks on the wire (gateway/api/problems.py does).
"""

import enum
from typing import Self


class Outcome(enum.StrEnum):
    """One way a request ends.

    sentence       what happened, for the reference page and the log
    status         the HTTP status when the gateway answers by itself; None when an engine's answer was relayed
                   or nobody was left to answer
    engine_fault   whether it counts against the health of the engine that was tried last. A client's bad request,
                   its leaving, and a refusal by overload never do.
    """

    sentence: str
    status: int | None
    engine_fault: bool

    def __new__(cls, value: str, sentence: str, status: int | None, engine_fault: bool) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        member.status = status
        member.engine_fault = engine_fault
        return member

    COMPLETED = "completed", "The answer was relayed to its end.", None, False
    REJECTED_BY_ENGINE = (
        "rejected_by_engine",
        "The engine refused the request as the client's mistake (4xx); its answer was relayed.",
        None,
        False,
    )
    CLIENT_DISCONNECTED = "client_disconnected", "The client left before its answer was complete.", None, False
    CLIENT_TIMEOUT = "client_timeout", "The client sent its request, or read its answer, too slowly.", 408, False
    BAD_REQUEST = "bad_request", "The request is malformed or asks for something that is not allowed.", 400, False
    UNAUTHORIZED = "unauthorized", "The API key is missing, malformed, unknown, expired or disabled.", 401, False
    FORBIDDEN = "forbidden", "The API key is good, but not for this.", 403, False
    NOT_FOUND = "not_found", "No such route or model.", 404, False
    TOO_LARGE = "too_large", "The body or the headers exceed the limit.", 413, False
    NO_CAPACITY = "no_capacity", "Refused early because every engine of the model, or the gateway, is full.", 429, False
    NO_ENDPOINT = "no_endpoint", "The model is known, but no engine that serves it is ready.", 503, False
    UPSTREAM_REFUSED = "upstream_refused", "No engine accepted a connection.", 502, True
    UPSTREAM_FAILED = "upstream_failed", "The engine failed before the first byte of its answer.", 502, True
    UPSTREAM_TIMEOUT = "upstream_timeout", "The engine did not begin to answer in time.", 504, True
    STREAM_BROKEN = "stream_broken", "The engine failed after part of its answer was relayed.", None, True
    SHUTTING_DOWN = "shutting_down", "The gateway is draining and takes no new requests.", 503, False
    INTERNAL_ERROR = "internal_error", "A fault of the gateway itself.", 500, False
