"""Request bodies: memory follows what has arrived, and neither one client nor one upload takes all of it."""

import asyncio
import tracemalloc

import pytest
from tests.gateway.conftest import route_to
from tests.gateway.double_engine import completion
from tests.gateway.loop_turns import LoopTurns
from tests.gateway.wire import complete, get, post, until

from remuda.gateway.access.keys import hash_key, make_key
from remuda.gateway.table import KeyRecord, Table

HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
KEYS = {name: make_key(name, "k1") for name in ("red", "blue")}


def with_length(size: int, headers: bytes = b"") -> bytes:
    return HEAD + headers + b"content-length: %d\r\n\r\n" % size


def body_of(size: int) -> bytes:
    start, end = b'{"model":"m","prompt":"', b'"}'
    return start + b"x" * (size - len(start) - len(end)) + end


def key(name: str) -> bytes:
    return b"x-api-key: %b\r\n" % KEYS[name].encode()


def held(site) -> int:
    return site.gateway.clients.bodies.held_bytes


async def asked(site, requests: int) -> None:
    await until(lambda: site.gateway.admission.in_flight == requests, f"{requests} requests in flight")


# ---- what counts


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(with_length(50_000_000), id="length"),
        pytest.param(CHUNKED, id="chunked"),
        pytest.param(CHUNKED + b"2faf080\r\n", id="chunk-size"),
        pytest.param(with_length(50_000_000, b"expect: 100-continue\r\n"), id="expect"),
    ],
)
async def test_promises_starve_nobody(sites, head):
    async with sites(bodies_bytes=1_000_000, client_bodies_bytes=1_000_000) as site:
        for _ in range(30):
            await (await site.open()).send(head)
        await asked(site, 30)
        assert held(site) == 0
        assert (await site.ask(post("/v1/completions", body_of(900_000)))).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(with_length(50_000_000) + b"x" * 100_000, id="length"),
        pytest.param(CHUNKED + b"2faf080\r\n" + b"x" * 100_000, id="within-a-chunk"),
        pytest.param(CHUNKED + (b"3e8\r\n" + b"x" * 1000 + b"\r\n") * 100, id="chunks"),
        pytest.param(CHUNKED + b"1;a=b\r\nx\r\n" * 100_000, id="tiny-chunks"),
    ],
)
async def test_what_has_arrived_is_counted_and_given_back_when_the_client_leaves(site, sent):
    wire = await site.open()
    await wire.send(sent)
    await until(lambda: held(site) == 100_000, "all of it is counted")
    await wire.close()
    await until(lambda: held(site) == 0, "all of it is given back")
    assert site.outcomes == {"client_disconnected": 1}


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(with_length(100_000) + body_of(100_000), 200, id="answered"),
        pytest.param(with_length(100_000) + b"{" * 100_000, 400, id="no-json"),
        pytest.param(CHUNKED + b"186a0\r\n" + b"x" * 100_000 + b"\r\nzz\r\n", 400, id="malformed-chunk"),
        pytest.param(CHUNKED + b"186a0\r\n" + b"x" * 100_000 + b"\r\nfffffff\r\n", 413, id="too-large"),
        pytest.param(with_length(100_000).replace(b"/v1/comp", b"/v2/comp") + body_of(100_000), 404, id="no-route"),
    ],
)
async def test_every_end_of_a_request_gives_its_memory_back(site, request_bytes, status):
    assert (await site.ask(request_bytes)).status == status
    await until(lambda: held(site) == 0)
    assert site.gateway.clients.bodies._by_client == {}


async def test_body_is_held_until_its_request_has_ended(site):
    release = asyncio.Event()

    async def slow(reply):
        await release.wait()
        await reply.answer(completion())

    site.engine.default = slow
    wire = await site.open()
    await wire.send(with_length(300_000) + body_of(300_000))
    await until(lambda: site.engine.requests)
    assert held(site) == 300_000
    release.set()
    assert (await wire.read()).status == 200
    await until(lambda: held(site) == 0)


# ---- bounds


async def test_bodies_of_all_clients_together_are_bounded(sites):
    async with sites(bodies_bytes=100_000, client_bodies_bytes=80_000) as site:
        first = await site.open(local_addr=("127.0.0.2", 0))
        await first.send(with_length(70_000) + b"x" * 60_000)
        await until(lambda: held(site) == 60_000)
        second = await site.open()
        await second.send(with_length(70_000) + body_of(70_000)[:50_000])
        refused = await second.read()
        assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (429, "overloaded", "1")
        assert refused.error["message"] == (
            "The gateway has no room for this body: the bodies of all requests together may take 100000 bytes. "
            "Try again in 1 s."
        )
        assert refused.headers["connection"] == "close"


CLIENT_FULL = (
    "The bodies of your requests together may take 100000 bytes, and this one would exceed that. Wait for the answers "
    "to some of them, or try again in 1 s."
)


async def test_one_address_cannot_take_the_room_of_another(sites):
    async with sites(bodies_bytes=1_000_000, client_bodies_bytes=100_000) as site:
        for _ in range(3):
            wire = await site.open(local_addr=("127.0.0.2", 0))
            await wire.send(with_length(40_000) + b"x" * 30_000)
        await until(lambda: held(site) == 90_000)
        fourth = await site.open(local_addr=("127.0.0.2", 0))
        refused = await fourth.ask(with_length(40_000) + b"x" * 20_000)
        assert (refused.status, refused.error["code"], refused.error["message"]) == (429, "overloaded", CLIENT_FULL)
        assert (await site.ask(with_length(90_000) + body_of(90_000))).status == 200
        assert site.outcomes["completed"] == 1


async def test_one_tenant_cannot_take_the_room_of_another_and_addresses_do_not_matter(sites):
    async with sites(bodies_bytes=1_000_000, client_bodies_bytes=100_000) as site:
        records = tuple(KeyRecord(hash_key(secret), name, "k1") for name, secret in KEYS.items())
        site.gateway.apply(Table(models=(route_to(site.engines),), keys=records))
        first = await site.open(local_addr=("127.0.0.2", 0))
        await first.send(with_length(90_000, key("red")) + b"x" * 80_000)
        await until(lambda: held(site) == 80_000)
        refused = await site.ask(with_length(30_000, key("red")) + body_of(30_000))
        assert (refused.status, refused.error["message"]) == (429, CLIENT_FULL)
        assert (await site.ask(with_length(90_000, key("blue")) + body_of(90_000))).status == 200


async def test_connection_goes_on_after_a_whole_body_that_found_no_room(sites):
    async with sites(bodies_bytes=1_000_000, client_bodies_bytes=20_000) as site:
        wire = await site.open()
        await wire.send(with_length(30_000) + body_of(30_000) + complete())
        assert (await wire.read()).status == 429
        assert (await wire.read()).status == 200


# ---- time


async def test_upload_that_moves_is_cut_when_it_takes_too_long_as_a_whole(sites):
    async with sites(upload_timeout_s=0.3, timeouts={"body_s": 60.0}) as site:
        wire = await site.open()
        await wire.send(with_length(1_000_000))

        async def drip():
            while True:
                await wire.send(b"x")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        response = await wire.read()
        dripping.cancel()
        assert (response.status, response.error["code"]) == (408, "request_timeout")
        assert response.error["message"] == "The request body did not arrive completely within 0.3 s."
        assert response.headers["connection"] == "close"
        assert site.outcomes == {"client_timeout": 1}
        assert held(site) == 0


async def test_upload_that_stalls_is_told_which_time_ran_out(sites):
    async with sites(upload_timeout_s=60.0, timeouts={"body_s": 0.1}) as site:
        response = await site.ask(with_length(1000) + b"{")
        assert response.status == 408
        assert response.error["message"] == "The request did not arrive completely within 0.1 s."


# ---- tiny chunks


TINY = 600_000
"""Bytes of a body in chunks of one byte: six times as much on the wire."""


def tiny_chunks() -> bytes:
    return b"".join(b"1\r\n%c\r\n" % byte for byte in body_of(TINY))


async def test_upload_in_small_chunks_takes_less_than_twice_its_size_in_memory(site):
    size, body = 1_200_000, body_of(1_200_000)
    framed = b"".join(b"8\r\n%b\r\n" % body[start : start + 8] for start in range(0, size, 8))
    wire = await site.open()
    await wire.send(CHUNKED)
    await asked(site, 1)
    tracemalloc.start()
    try:
        for start in range(0, len(framed), 65_536):
            await wire.send(framed[start : start + 65_536])
            arrived = (start + 65_536) * 8 // 13
            await until(lambda arrived=arrived: held(site) >= min(arrived, size) - 8, "it is decoded")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2 * size
    await wire.send(b"0\r\n\r\n")
    assert (await wire.read()).status == 200
    assert site.engine.requests[0].body == body


async def test_upload_in_tiny_chunks_is_decoded_a_slice_in_each_turn_of_the_loop(site):
    wire = await site.open()
    await wire.send(CHUNKED)
    await asked(site, 1)
    async with LoopTurns(lambda: held(site)) as turns:
        await wire.send(tiny_chunks())
        await until(lambda: held(site) == TINY, "all of it is decoded")
    slice_bytes = 16 * 1024 // len(b"1\r\nx\r\n") + 1
    assert max(turns.steps) <= 2 * slice_bytes  # one from the loop, one from the socket
    assert len(turns.steps) >= TINY // (2 * slice_bytes)


async def test_others_are_answered_while_an_upload_in_tiny_chunks_is_decoded(site):
    wire, other = await site.open(), await site.open()
    await wire.send(CHUNKED)
    await asked(site, 1)
    sending = asyncio.create_task(wire.send(tiny_chunks() + b"0\r\n\r\n"))
    answered = 0
    while not site.engine.requests:
        assert (await other.ask(get("/health"))).status == 200
        answered += 1
    await sending
    assert (await wire.read()).status == 200
    assert answered >= 50


async def test_what_follows_a_sliced_body_is_the_next_request(site):
    wire = await site.open()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body_of(50_000))
    await wire.send(CHUNKED + chunks + b"0\r\n\r\n" + get("/health") + CHUNKED + chunks + b"0\r\n\r\n" + get("/ready"))
    assert [(await wire.read()).status for _ in range(4)] == [200] * 4
    assert [request.body for request in site.engine.requests] == [body_of(50_000)] * 2
