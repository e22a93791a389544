"""Which new connections are served, kept for probes, or refused."""

import pytest

from remuda.gateway.http.clients import Clients, Entry
from remuda.gateway.http.exchange import Handler, Link
from remuda.gateway.options import Limits
from remuda.gateway.settings import GatewaySettings


class Arrived(Link):
    """A connection from an address."""

    def __init__(self, peer: str) -> None:
        self._peer = peer

    @property
    def peer(self) -> str:
        return self._peer


@pytest.fixture
def clients() -> Clients:
    return Clients(GatewaySettings(limits=Limits(connections=2)), Handler())


def enter(clients: Clients, *peers: str) -> list[tuple[Arrived, Entry]]:
    arrived = [Arrived(peer) for peer in peers]
    return [(link, clients.enter(link)) for link in arrived]


def entries(taken: list[tuple[Arrived, Entry]]) -> list[Entry]:
    return [entry for _, entry in taken]


def test_connections_up_to_the_limit_are_served(clients):
    assert entries(enter(clients, "a", "a", "a")) == [Entry.SERVED, Entry.SERVED, Entry.PROBES_ONLY]
    assert (clients.opened, clients.served, clients.refused, len(clients.links)) == (2, 2, 0, 3)


def test_one_address_gets_eight_connections_for_probes_and_all_get_sixty_four(clients):
    enter(clients, "a", "a")
    assert entries(enter(clients, *["b"] * 10)) == [Entry.PROBES_ONLY] * 8 + [Entry.REFUSED] * 2
    others = [f"c{number // 8}" for number in range(60)]
    assert entries(enter(clients, *others)) == [Entry.PROBES_ONLY] * 56 + [Entry.REFUSED] * 4
    assert clients.refused == 6


def test_every_connection_is_watched_until_it_leaves(clients):
    taken = enter(clients, *["a"] * 12)
    assert len(clients.links) == 12
    for link, entry in taken:
        clients.leave(link, entry)
    assert (clients.links, clients.served) == (set(), 0)
    assert entries(enter(clients, *["a"] * 11)) == [Entry.SERVED] * 2 + [Entry.PROBES_ONLY] * 8 + [Entry.REFUSED]


def test_refused_connection_frees_nothing_when_it_leaves(clients):
    taken = enter(clients, *["a"] * 11)
    clients.leave(*taken[-1])
    assert entries(enter(clients, "a")) == [Entry.REFUSED]


def test_place_that_is_left_is_of_its_own_kind(clients):
    taken = enter(clients, *["a"] * 10)
    clients.leave(*taken[0])
    assert entries(enter(clients, "a")) == [Entry.SERVED]
    clients.leave(*taken[5])
    assert entries(enter(clients, "a", "a")) == [Entry.PROBES_ONLY, Entry.REFUSED]


def test_draining_clients_say_when_the_last_has_left(clients):
    said: list[str] = []
    taken = enter(clients, "a", "b")
    clients.on_empty = lambda: said.append("empty")
    clients.leave(*taken[0])
    clients.leave(*taken[1])
    assert said == []  # nobody drains
    taken = enter(clients, "a", "b")
    clients.draining = True
    clients.leave(*taken[0])
    assert said == []
    clients.leave(*taken[1])
    assert said == ["empty"]
