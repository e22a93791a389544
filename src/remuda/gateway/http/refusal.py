"""Why the HTTP layer itself refuses a client: one reason each, before anybody asks what the request means.

Does not know the words of an answer (`api.refusals` has them).
"""

import enum


class Reason(enum.Enum):
    """What was wrong with the connection, the head or the body."""

    MALFORMED = "malformed"
    HEAD_TOO_LARGE = "head_too_large"
    HEAD_TIMEOUT = "head_timeout"
    BODY_TOO_LARGE = "body_too_large"
    BODY_TIMEOUT = "body_timeout"
    UPLOAD_TIMEOUT = "upload_timeout"
    BODIES_FULL = "bodies_full"
    CLIENT_BODIES_FULL = "client_bodies_full"
    CONNECTIONS_FULL = "connections_full"
    EXPECTATION = "expectation"


class Refusal(Exception):  # noqa: N818 - it is a verdict on what the client sent
    """The request ends here. `status` overrides the usual status of the reason; `detail` says what was found."""

    def __init__(self, reason: Reason, detail: str = "", status: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.status = status
