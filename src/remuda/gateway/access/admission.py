"""Whether a request may come in now: not while the gateway drains, and not when it is full.

Probes are always let in: a gateway that is only busy must not look dead. Does not know who asks.
"""

from typing import Final

from remuda.gateway.api import problems, routes
from remuda.gateway.api.problems import Refused
from remuda.gateway.api.routes import Page
from remuda.gateway.http.exchange import Exchange
from remuda.gateway.table import Side
from remuda.vllm.routes import Route

PROBES: Final = frozenset({routes.HEALTH, routes.READY, routes.MODEL_READY, routes.METRICS})
"""Pages that an orchestrator asks for to decide whether the gateway lives."""
_WHILE_DRAINING: Final = frozenset({routes.HEALTH, routes.METRICS, routes.READY, routes.MODEL_READY})


class Admission:
    """Counts the requests that are being answered."""

    def __init__(self, most_requests: int, most_connections: int) -> None:
        self._most_requests = most_requests
        self._most_connections = most_connections
        self.in_flight = 0
        self.closed = False
        """The gateway drains and takes no new requests."""

    def admit(self, exchange: Exchange, route: Route | Page | Side) -> None:
        """Refuses what cannot be served now. `in_flight` counts this request already."""
        if self.closed:
            if route not in _WHILE_DRAINING:
                raise Refused(problems.SHUTTING_DOWN)
        elif exchange.probe_only:
            if route not in PROBES:
                raise Refused(problems.gateway_full_of_connections(self._most_connections))
        elif self.in_flight > self._most_requests and route not in PROBES:
            raise Refused(problems.gateway_full_of_requests(self._most_requests))
