"""CORS: which web pages may call from a browser. Off unless origins are set.

Does not know routes. A preflight (`pages.answer_options`) never asks for a key: browsers send none with it.
"""

from collections.abc import Collection
from typing import Final

from remuda.gateway.http.exchange import Exchange

_EXPOSED: Final = b"access-control-expose-headers: x-request-id, x-remuda-engine, x-remuda-hop, retry-after\r\n"
_REQUESTED: Final = b"access-control-request-headers:"
_USUAL: Final = b"authorization, content-type, x-api-key, x-request-id, traceparent"


class Cors:
    """The rules of one process."""

    def __init__(self, origins: Collection[str]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def meet(self, exchange: Exchange) -> None:
        """Put the headers an allowed origin needs on whatever is answered."""
        origin = exchange.head.origin
        if origin is None or not (self._any or origin in self._origins):
            return
        allowed = b"*" if self._any else origin
        exchange.cors = b"access-control-allow-origin: %b\r\nvary: origin\r\n%b" % (allowed, _EXPOSED)


def preflight_lines(exchange: Exchange, methods: bytes) -> bytes:
    """What an allowed preflight is told, beyond its origin: any header it asks for, since none has power here."""
    if not exchange.cors:
        return b""
    requested = _USUAL
    for line in exchange.head.forwarded:
        if line.lower().startswith(_REQUESTED):
            requested = line[len(_REQUESTED) :].strip()
    return (
        b"access-control-allow-methods: %b\r\naccess-control-allow-headers: %b\r\naccess-control-max-age: 600\r\n"
        % (methods, requested)
    )
