"""CORS: which web pages may read answers in a browser. Off unless origins are configured.

Pure: an Origin in, header lines out. Does not know requests or routes.
"""

from collections.abc import Collection, Iterable
from typing import Final

_ALLOWED: Final = b"access-control-allow-origin: "
_VARY: Final = b"vary: origin\r\n"
_EXPOSED: Final = b"access-control-expose-headers: x-request-id, x-remuda-engine, x-remuda-hop, retry-after\r\n"
_REQUESTED: Final = b"access-control-request-headers:"
_USUAL: Final = b"authorization, content-type, x-api-key, x-request-id, traceparent"


class Cors:
    """The rules of one process."""

    def __init__(self, origins: Collection[str]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def lines_for(self, origin: bytes | None) -> bytes:
        """The header lines that every answer to this origin has.

        With origins configured, all answers say that they depend on the Origin, also those to requests without one:
        otherwise a cache would give an answer without these lines to a page that needs them.
        """
        if not self._origins:
            return b""
        if origin is None or not (self._any or origin in self._origins):
            return _VARY
        allowed = b"*" if self._any else origin
        return b"%b%b\r\n%b%b" % (_ALLOWED, allowed, _VARY, _EXPOSED)


def preflight_lines(origin_lines: bytes, forwarded: Iterable[bytes], methods: bytes) -> bytes:
    """What an allowed preflight is told beyond its origin: it may send any header it asks for, since none has power.

    origin_lines  what `lines_for` said about its origin
    forwarded     its header lines that the gateway does not read itself
    """
    if not origin_lines.startswith(_ALLOWED):
        return b""
    requested = _USUAL
    for line in forwarded:
        if line.lower().startswith(_REQUESTED):
            requested = line[len(_REQUESTED) :].strip()
    return (
        b"access-control-allow-methods: %b\r\naccess-control-allow-headers: %b\r\naccess-control-max-age: 600\r\n"
        % (methods, requested)
    )
