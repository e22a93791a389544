"""Bytes go straight into a socket only where that cannot change their order or reach anybody else."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.gateway.outlet import Outlet


class Buffered(asyncio.Transport):
    """A transport that only notes what it is given."""

    def __init__(self, sock: socket.socket | None, tls: object = None) -> None:
        super().__init__({"socket": sock, "sslcontext": tls})
        self.taken = b""
        self.closing = False

    def write(self, data: Any) -> None:
        self.taken += data

    def get_write_buffer_size(self) -> int:
        return len(self.taken)

    def is_closing(self) -> bool:
        return self.closing


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def test_bytes_go_straight_into_the_socket(pair: tuple[socket.socket, socket.socket]) -> None:
    transport = Buffered(pair[0])
    Outlet(transport).write(b"hello")
    assert pair[1].recv(99) == b"hello"
    assert transport.taken == b""


def test_bytes_wait_behind_those_that_wait_and_no_longer(pair: tuple[socket.socket, socket.socket]) -> None:
    transport = Buffered(pair[0])
    outlet = Outlet(transport)
    outlet.write(bytes(10_000_000))  # more than the socket takes
    waiting = len(transport.taken)
    while len(pair[1].recv(1 << 20)) == 1 << 20:
        pass
    outlet.write(b"hello")  # there is room again, but not in front of the others
    assert transport.taken == bytes(waiting) + b"hello"
    transport.taken = b""  # sent
    outlet.write(b"again")
    assert transport.taken == b""


def test_what_a_full_socket_does_not_take_is_the_transports(pair: tuple[socket.socket, socket.socket]) -> None:
    transport = Buffered(pair[0])
    data = bytes(range(256)) * 40_000
    Outlet(transport).write(data)
    sent = b""
    while (part := pair[1].recv(1 << 20)) and len(sent) + len(part) + len(transport.taken) < len(data):
        sent += part
    assert transport.taken
    assert sent + part + transport.taken == data


def test_a_closing_transport_is_not_gone_around(pair: tuple[socket.socket, socket.socket]) -> None:
    """Its number may be another connection's by now."""
    transport = Buffered(pair[0])
    transport.closing = True
    Outlet(transport).write(b"hello")
    assert transport.taken == b"hello"


def test_tls_is_not_gone_around(pair: tuple[socket.socket, socket.socket]) -> None:
    transport = Buffered(pair[0], tls=object())
    Outlet(transport).write(b"hello")
    assert transport.taken == b"hello"


def test_peer_that_is_gone_is_the_transports_to_find_out(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].close()
    transport = Buffered(pair[0])
    Outlet(transport).write(b"hello")
    assert transport.taken == b"hello"


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 300_000), min_size=1, max_size=12))
def test_nothing_is_lost_or_turned_around_when_the_reader_is_slow(sizes: list[int]) -> None:
    pieces = [bytes([number]) * size for number, size in enumerate(sizes)]

    async def send() -> bytes:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=theirs)
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        outlet = Outlet(transport)
        got = asyncio.create_task(reader.read(-1))
        for piece in pieces:
            outlet.write(piece)
            await asyncio.sleep(0)
        transport.close()
        data = await got
        writer.close()
        return data

    assert uvloop.run(send()) == b"".join(pieces)
