"""A gateway that is full still answers probes, so that no orchestrator restarts it; all others are told the reason."""

import asyncio
import contextlib
from time import monotonic

import pytest
from tests.gateway.double_engine import completion
from tests.gateway.test_access import with_keys
from tests.gateway.wire import complete, get, post, until

FULL_OF_REQUESTS = "The gateway already answers 1 requests, which is its limit. Try again in 1 s."
FULL_OF_CONNECTIONS = "The gateway already has 2 connections, which is its limit. Try again in 1 s."
PER_ADDRESS = 8
"""Connections beyond the limit that one address gets."""
RESERVE = 64
"""The same for all addresses."""
PROBES = [get("/health"), get("/ready"), get("/ready/m"), get("/metrics"), get("/health", method=b"HEAD")]
PROBE_IDS = ["health", "ready", "ready-of-a-model", "metrics", "head"]


@contextlib.asynccontextmanager
async def full_of_requests(sites):
    async with sites(limits={"requests_in_flight": 1}) as site:
        release = asyncio.Event()

        async def held(reply):
            await release.wait()
            await reply.answer(completion())

        site.engine.default = held
        busy = await site.open()
        await busy.send(complete())
        await until(lambda: site.engine.requests)
        yield site
        release.set()
        assert (await busy.read()).status == 200


@contextlib.asynccontextmanager
async def full_of_connections(sites, **settings):
    async with sites(limits={"connections": 2}, **settings) as site:
        for _ in range(2):
            await (await site.open()).ask(get("/health"))
        yield site


def links(site) -> set:
    return site.gateway.clients.links


async def read(wire, request_bytes):
    await wire.send(request_bytes)
    return await wire.read(head_only=request_bytes.startswith(b"HEAD"))


# ---- full of requests


@pytest.mark.parametrize("probe", PROBES, ids=PROBE_IDS)
async def test_probe_is_answered_while_the_gateway_is_full_of_requests(sites, probe):
    async with full_of_requests(sites) as site:
        assert (await read(await site.open(), probe)).status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(complete(), id="engine-route"),
        pytest.param(post("/generate", {"prompt": "x"}), id="generate"),
        pytest.param(get("/v1/models"), id="models"),
        pytest.param(get("/v1/completions", method=b"OPTIONS"), id="options"),
    ],
)
async def test_everything_else_is_refused_while_the_gateway_is_full_of_requests(sites, request_bytes):
    async with full_of_requests(sites) as site:
        wire = await site.open()
        refused = await wire.ask(request_bytes)
        assert (refused.status, refused.error["code"], refused.error["hop"]) == (429, "overloaded", "gateway")
        assert (refused.error["message"], refused.headers["retry-after"]) == (FULL_OF_REQUESTS, "1")
        assert len(site.engine.requests) == 1
        assert site.outcomes == {"no_capacity": 1}
        assert (await wire.ask(get("/health"))).status == 200  # the connection goes on


async def test_refused_client_on_messages_is_told_in_the_shape_of_that_route(sites):
    async with full_of_requests(sites) as site:
        refused = await site.ask(post("/v1/messages", {"model": "m"}))
        assert refused.json["error"] == {
            "type": "rate_limit_error",
            "message": FULL_OF_REQUESTS,
            "code": "overloaded",
            "hop": "gateway",
        }


# ---- full of connections


@pytest.mark.parametrize("probe", PROBES, ids=PROBE_IDS)
async def test_probe_is_answered_while_the_gateway_is_full_of_connections(sites, probe):
    async with full_of_connections(sites) as site:
        wire = await site.open()
        answer = await read(wire, probe)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await wire.closed() == b""
        await until(lambda: len(links(site)) == 2)


@pytest.mark.parametrize(
    ("request_bytes", "code", "message"),
    [
        pytest.param(complete(), "overloaded", FULL_OF_CONNECTIONS, id="engine-route"),
        pytest.param(get("/v1/models"), "overloaded", FULL_OF_CONNECTIONS, id="models"),
        pytest.param(get("/x"), "route_not_found", "There is no GET '/x' on this gateway.", id="no-route"),
    ],
)
async def test_everything_else_is_refused_while_the_gateway_is_full_of_connections(sites, request_bytes, code, message):
    async with full_of_connections(sites) as site:
        wire = await site.open()
        refused = await wire.ask(request_bytes)
        assert (refused.error["code"], refused.error["message"]) == (code, message)
        assert refused.headers.get("retry-after") == ("1" if code == "overloaded" else None)
        assert refused.headers["connection"] == "close"
        assert await wire.closed() == b""
        assert site.engine.requests == []


async def test_second_request_on_a_connection_for_probes_is_not_executed(sites):
    async with full_of_connections(sites) as site:
        wire = await site.open()
        await wire.send(get("/health") + get("/health"))
        assert (await wire.read()).status == 200
        assert await wire.closed() == b""
        assert site.outcomes == {"completed": 3}


async def test_one_address_does_not_take_the_place_of_anothers_probes(sites):
    async with full_of_connections(sites) as site:
        for _ in range(PER_ADDRESS):
            await site.open()
        await until(lambda: len(links(site)) == 2 + PER_ADDRESS)
        refused = await (await site.open()).read()
        assert (refused.status, refused.error["message"], refused.headers["connection"]) == (
            429,
            FULL_OF_CONNECTIONS,
            "close",
        )
        prober = await site.open(local_addr=("127.0.0.2", 0))
        assert (await prober.ask(get("/health"))).status == 200
        assert site.gateway.clients.refused == 1


async def test_all_addresses_together_get_so_many_connections_beyond_the_limit(sites):
    async with full_of_connections(sites) as site:
        for number in range(RESERVE):
            await site.open(local_addr=(f"127.0.0.{2 + number // PER_ADDRESS}", 0))
        await until(lambda: len(links(site)) == 2 + RESERVE)
        refused = await (await site.open(local_addr=("127.0.0.100", 0))).read()
        assert (refused.status, refused.error["message"]) == (429, FULL_OF_CONNECTIONS)
        metrics = site.gateway.clients
        assert (metrics.opened, metrics.refused, metrics.served) == (2, 1, 2)


async def test_place_of_a_probe_is_free_again_when_it_has_been_answered(sites):
    async with full_of_connections(sites) as site:
        for _ in range(3 * PER_ADDRESS):
            wire = await site.open()
            assert (await wire.ask(get("/health"))).status == 200
            await wire.close()
            await until(lambda: len(links(site)) == 2)
        assert site.gateway.clients.refused == 0


HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n"


@pytest.mark.parametrize(
    "sent", [b"", HEAD, HEAD + b"content-length: 9\r\n\r\n"], ids=["nothing", "half-a-head", "no-body"]
)
async def test_place_of_a_probe_is_not_kept_by_a_client_that_is_slow(sites, sent):
    async with full_of_connections(sites) as site:
        kept = set(links(site))
        wire = await site.open()
        await wire.send(sent)
        await until(lambda: len(links(site)) == 3)
        (link,) = links(site) - kept
        if sent == HEAD:
            await until(lambda: link._buffer)
        assert link.deadline_at - monotonic() <= 2.0
        await until(lambda: links(site) == kept, "the connection is gone")
        if sent == HEAD:
            assert (await wire.read()).error["message"] == FULL_OF_CONNECTIONS


async def test_connection_that_ends_makes_room_for_another(sites):
    async with full_of_connections(sites) as site:
        site.wires[0].writer.close()
        await until(lambda: len(links(site)) == 1)
        wire = await site.open()
        assert (await wire.ask(complete())).status == 200
        assert "connection" not in (await wire.ask(get("/health"))).headers


async def test_probe_needs_no_key_and_is_told_no_names_however_full_the_gateway_is(sites):
    async with full_of_connections(sites) as site:
        with_keys(site)
        assert (await site.ask(get("/ready"))).json == {"status": "ready"}
        assert (await site.ask(complete())).status == 401


# ---- the same while the gateway drains


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(get("/health"), 200, id="health"),
        pytest.param(get("/metrics"), 200, id="metrics"),
        pytest.param(get("/ready"), 503, id="ready"),
        pytest.param(complete(), 503, id="engine-route"),
        pytest.param(get("/v1/models"), 503, id="models"),
    ],
)
async def test_connection_that_comes_while_the_gateway_drains_is_told_so(site, request_bytes, status):
    """It was accepted by the kernel before the gateway stopped to listen."""
    site.gateway.clients.draining = site.gateway.admission.closed = True
    wire = await site.open()
    answer = await wire.ask(request_bytes)
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    if request_bytes in (complete(), get("/v1/models")):
        assert (answer.error["code"], answer.headers["retry-after"]) == ("shutting_down", "1")
        assert answer.error["message"] == "The gateway is shutting down. Try again."
    assert await wire.closed() == b""
    assert site.engine.requests == []
