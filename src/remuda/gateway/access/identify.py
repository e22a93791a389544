"""Who sends a request, and what it asks for: the route, and the caller who may use it.

Both depend on nothing but the bytes of the head and the keys of this moment, so a connection that sends the same head
again is not asked again. Does not know models: which of them the caller may use is decided where the model is chosen.
"""

import time
from collections.abc import Callable, Collection

from remuda.gateway.access.browsers import is_loopback_host, is_own_origin
from remuda.gateway.access.guesses import Guesses
from remuda.gateway.access.keys import ANONYMOUS, STRANGER, KeyRefusal, KeyRing, Principal
from remuda.gateway.access.refusals import explain_refused_key
from remuda.gateway.api import problems, routes
from remuda.gateway.api.problems import Refused
from remuda.gateway.api.routes import Page, resolve_route
from remuda.gateway.http.exchange import Exchange
from remuda.gateway.http.head import RequestHead
from remuda.gateway.record.record import Record
from remuda.gateway.table import Side
from remuda.vllm.routes import Route


class Identity:
    """What was found out about one head: the route it asks for and who sends it. Not changed afterwards."""

    __slots__ = ("caller", "checked_at", "epoch", "route", "tenant")

    def __init__(self, route: Route | Page | Side, caller: Principal, epoch: object, checked_at: float) -> None:
        self.route = route
        self.caller = caller
        self.tenant = caller.tenant if caller is not ANONYMOUS and caller is not STRANGER else ""
        """The tenant that logs show and limits are counted for; empty for callers without a key."""
        self.epoch = epoch
        self.checked_at = checked_at


class Identifier:
    """Identifies requests by the keys of the current table."""

    def __init__(self, *, metrics_open: bool, own_host_only: bool, origins: Collection[str]) -> None:
        self.ring = KeyRing(())
        self._sides: tuple[Side, ...] = ()
        self._epoch = object()
        """Replaced with the keys or the routes: what was found out about a head before counts no longer."""
        self.keys_wanted = False
        """Once keys were asked for, they are asked for: revoking the last one does not open the gateway."""
        self.reuse_s = 1.0
        """Identical heads reuse a check of their key for this long, so an expired key may work this much longer."""
        self.read_clock: Callable[[], float] = time.time
        """The clock that keys expire by: Unix time in seconds."""
        self._metrics_open = metrics_open
        self._own_host_only = own_host_only
        self._origins = frozenset(origin.encode() for origin in origins)
        self._guesses = Guesses()
        self.refused_keys: dict[str, int] = {}
        """Reason → keys that were refused for it."""

    def take_keys(self, ring: KeyRing) -> None:
        """The keys that are valid from now on."""
        self.ring = ring
        self._epoch = object()

    def take_sides(self, sides: tuple[Side, ...]) -> None:
        """The paths that processes beside the gateway serve from now on."""
        if sides != self._sides:
            self._sides = sides
            self._epoch = object()

    def identify(self, exchange: Exchange, record: Record) -> Identity:
        """The route and the caller. Refused when there is no such route, or the caller may not come in."""
        identity = exchange.head.identity
        if (
            not isinstance(identity, Identity)
            or identity.epoch is not self._epoch
            or exchange.started_at - identity.checked_at > self.reuse_s
        ):
            identity = self._find_out(exchange, record)
        record.route_name = identity.route.name
        record.tenant = exchange.client = identity.tenant
        record.key_name = identity.caller.key
        return identity

    def _find_out(self, exchange: Exchange, record: Record) -> Identity:
        head = exchange.head
        route = self._find_side(head.path) or resolve_route(head.method, head.path)
        record.route_name = route.name
        caller = self._identify_caller(exchange, route)
        identity = head.identity = Identity(route, caller, self._epoch, exchange.started_at)
        return identity

    def _find_side(self, path: bytes) -> Side | None:
        """The process beside the gateway that serves this path."""
        for side in self._sides:
            own = side.path.encode()
            if path == own or path.startswith(own + b"/"):
                return side
        return None

    def _identify_caller(self, exchange: Exchange, route: Route | Page | Side) -> Principal:
        if not self.keys_wanted:
            self._check_browser(exchange.head, route)
            return ANONYMOUS
        if isinstance(route, Page) and (route.open or (self._metrics_open and route is routes.METRICS)):
            return self._identify_visitor(exchange.head)
        head = exchange.head
        principal = self.ring.check(head.authorization, head.x_api_key, self.read_clock())
        if isinstance(principal, KeyRefusal):
            raise Refused(self._refuse_key(exchange, principal))
        return principal

    def _identify_visitor(self, head: RequestHead) -> Principal:
        """Who asks for an open page: anybody may, but names of models are only told to the holder of a key."""
        principal = self.ring.check(head.authorization, head.x_api_key, self.read_clock())
        return STRANGER if isinstance(principal, KeyRefusal) else principal

    def _refuse_key(self, exchange: Exchange, refusal: KeyRefusal) -> problems.Problem:
        self.refused_keys[refusal.value] = self.refused_keys.get(refusal.value, 0) + 1
        guessed = refusal is KeyRefusal.MALFORMED or refusal is KeyRefusal.UNKNOWN
        if guessed and not self._guesses.count(exchange.link.peer, exchange.started_at):
            return problems.TOO_MANY_WRONG_KEYS
        return explain_refused_key(refusal, any_keys=len(self.ring) > 0)

    def _check_browser(self, head: RequestHead, route: Route | Page | Side) -> None:
        """A gateway without keys serves no foreign web page; see `browsers`."""
        if self._own_host_only and head.host is not None and not is_loopback_host(head.host):
            raise Refused(problems.foreign_host(head.host))
        if head.origin is None or route is routes.OPTIONS:
            return
        if not is_own_origin(head.origin, head.host, self._origins):
            raise Refused(problems.foreign_origin(head.origin))
