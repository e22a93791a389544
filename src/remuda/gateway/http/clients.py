"""All client connections of this process, and the bounds they share.

A full gateway still answers probes: a few connections are taken beyond the limit, each for one request to a page that
probes ask for, so that an orchestrator does not restart a gateway that is only busy. Does not know what is served.
"""

import enum
from collections.abc import Callable
from typing import Final

from remuda.gateway.http.body_budget import BodyBudget
from remuda.gateway.http.exchange import Handler, Link
from remuda.gateway.http.head import HeadLimits
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.waiting import Turns

_PROBE_CONNECTIONS: Final = 64
"""Connections taken beyond the limit, for probes."""
_PROBE_CONNECTIONS_PER_PEER: Final = 8
"""The same for one address, so that a client that floods the gateway does not take the place of the probes."""


class Entry(enum.Enum):
    """How a new connection is taken."""

    SERVED = "served"
    PROBES_ONLY = "probes_only"
    REFUSED = "refused"


class Clients:
    """See the module."""

    def __init__(self, settings: GatewaySettings, handler: Handler) -> None:
        self.settings = settings
        self.handler = handler
        self.head_limits = HeadLimits(settings.limits.header_bytes, settings.header_count, settings.url_bytes)
        self.bodies = BodyBudget(settings.bodies_bytes, settings.client_bodies_bytes)
        self.turns = Turns()
        """Of connections with a fast upload: one of them is read in one turn of the event loop."""
        self.links: set[Link] = set()
        self.draining = False
        self.opened = 0
        self.refused = 0
        self.on_empty: Callable[[], None] | None = None
        """Called when the last connection of a draining gateway has gone."""
        self._served = 0
        self._probing: dict[str, int] = {}

    def enter(self, link: Link) -> Entry:
        """Count a new connection. A refused one is watched like any other until it has gone."""
        self.links.add(link)
        if self._served < self.settings.limits.connections:
            self._served += 1
            self.opened += 1
            return Entry.SERVED
        peer = link.peer
        probing = self._probing.get(peer, 0)
        if probing < _PROBE_CONNECTIONS_PER_PEER and sum(self._probing.values()) < _PROBE_CONNECTIONS:
            self._probing[peer] = probing + 1
            return Entry.PROBES_ONLY
        self.refused += 1
        return Entry.REFUSED

    def leave(self, link: Link, entry: Entry) -> None:
        """The connection is gone."""
        self.links.discard(link)
        if entry is Entry.SERVED:
            self._served -= 1
        elif entry is Entry.PROBES_ONLY:
            peer = link.peer
            left = self._probing[peer] - 1
            if left:
                self._probing[peer] = left
            else:
                del self._probing[peer]
        if self.draining and not self.links and self.on_empty is not None:
            self.on_empty()

    @property
    def served(self) -> int:
        """Open connections that count against the limit."""
        return self._served
