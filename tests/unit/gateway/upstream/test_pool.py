"""The connections to one engine: kept, closed, and cut when their engine has left."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from remuda.gateway.upstream.connection import Upstream
from remuda.gateway.upstream.pool import Address, Pool, PoolLimits
from remuda.gateway.upstream.taker import AttemptFailed
from remuda.gateway.waiting import as_future

LIMITS = PoolLimits(connect_timeout_s=10.0, idle_connections=2, keep_alive_s=4.0)
LEFT = "it left the fleet, and the time for its last answers is over"


@contextlib.asynccontextmanager
async def open_pool() -> AsyncIterator[Pool]:
    """A pool for a port where the kernel accepts connections and nobody ever says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pool = Pool(Address("m-0", "127.0.0.1", listener.getsockname()[1]), LIMITS)
        yield pool
        opened = list(pool.connections)
        for upstream in opened:
            upstream.transport.abort()
        for upstream in opened:
            await gone(upstream)


async def gone(upstream: Upstream) -> None:
    async with asyncio.timeout(10):
        while not upstream.lost:  # noqa: ASYNC110 - a connection knows no events
            await asyncio.sleep(0)


async def test_answers_of_an_engine_that_has_left_are_cut_when_their_time_is_over():
    async with open_pool() as pool:
        busy = await pool.open_connection()
        answer = as_future(busy.send(b"GET / HTTP/1.1\r\n\r\n", b"", float("inf")))
        idle = await pool.open_connection()
        pool.keep(idle)
        pool.close(last_time_s=0.01)
        await gone(idle)
        with pytest.raises(AttemptFailed, match=LEFT):
            await answer
        await gone(busy)
        assert not pool.connections


async def test_connection_that_is_opened_after_its_engine_has_left_is_cut_as_well():
    async with open_pool() as pool:
        pool.close(last_time_s=0.01)
        late = await pool.open_connection()
        with pytest.raises(AttemptFailed, match=LEFT):
            await as_future(late.send(b"GET / HTTP/1.1\r\n\r\n", b"", float("inf")))
        await gone(late)


async def test_answers_of_an_engine_that_has_left_are_not_cut_without_a_time():
    async with open_pool() as pool:
        busy = await pool.open_connection()
        busy.send(b"GET / HTTP/1.1\r\n\r\n", b"", float("inf"))
        pool.close()
        await asyncio.sleep(0)
        assert not busy.lost
        assert pool.connections == {busy}


async def test_only_so_many_idle_connections_are_kept():
    async with open_pool() as pool:
        opened = [await pool.open_connection() for _ in range(3)]
        for upstream in opened:
            pool.keep(upstream)
        await gone(opened[2])
        assert pool.idle == opened[:2]
        assert pool.take_idle(fresh=True) is None
        assert pool.take_idle(fresh=False) is opened[1]


async def test_closed_pool_keeps_nothing():
    async with open_pool() as pool:
        upstream = await pool.open_connection()
        pool.close()
        pool.keep(upstream)
        await gone(upstream)
        assert pool.idle == []


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Address("b", "h", 1, path_prefix="/x", api_key="k"), True),
        (Address("a", "h", 2), False),
        (Address("a", "i", 1), False),
        (Address("a", "h", 1, tls=True), False),
    ],
    ids=["other id, key and prefix", "other port", "other host", "TLS"],
)
def test_connections_stay_useful_while_the_place_is_the_same(other, same):
    assert Address("a", "h", 1).is_same_place(other) is same


def test_every_request_begins_with_the_address_and_the_key():
    pool = Pool(Address("m-0", "::1", 8000, path_prefix="/team/", api_key="sk-1"), LIMITS)
    assert pool.start_for("/v1/models") == (
        b"POST /team/v1/models HTTP/1.1\r\nhost: [::1]:8000\r\nauthorization: Bearer sk-1\r\n"
    )
    assert pool.starts["/v1/models"] is pool.starts["/v1/models"]
    pool.change_address(Address("m-1", "::1", 8000))
    assert pool.starts == {}
    assert pool.id_line == b"x-remuda-engine: m-1\r\n"
    assert pool.render_get("/health") == b"GET /health HTTP/1.1\r\nhost: [::1]:8000\r\nconnection: close\r\n\r\n"
