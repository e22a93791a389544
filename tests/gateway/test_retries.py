"""Tries elsewhere before the first byte, by phase, bounded; and what is said when nothing helps."""

import asyncio

import pytest
from tests.gateway.conftest import route_to
from tests.gateway.double_engine import DoubleEngine, completion, event
from tests.gateway.wire import complete, get, until

from remuda.gateway.table import Table
from remuda.policy.health import State


async def _die(reply):
    await reply.close()


async def _reset(reply):
    await reply.reset()


async def _die_after_head(reply):
    await reply.begin_stream()
    await reply.close()


async def _garbage(reply):
    await reply.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    await reply.close()


async def _draining(reply):
    await reply.answer(
        b'{"error":{"message":"cannot schedule new futures after shutdown"}}', b"500 Internal Server Error"
    )


async def _full(reply):
    await reply.answer(
        b'{"error":{"message":"The engine is currently busy and cannot accept new requests"}}',
        b"503 Service Unavailable",
    )


async def _aborted(reply):
    await reply.answer(completion().replace(b'"stop"', b'"abort"'))


async def _dead_core(reply):
    await reply.begin_stream()
    await reply.chunk(b'data: {"error":{"message":"EngineCore encountered an issue","code":500}}\n\n')
    await reply.end_stream()


FAULTS = [_die, _reset, _die_after_head, _garbage, _draining, _full, _aborted, _dead_core]


@pytest.mark.req("G5.retries", level="double")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
async def test_engine_that_fails_before_the_first_byte_is_replaced(sites, fault):
    async with sites(engines=2) as site:
        for engine in site.engines:
            engine.scripts.append(fault)
            engine.scripts.append(fault)
        site.engines[1].scripts.clear()
        answered = [await site.ask(complete()) for _ in range(2)]
        assert [answer.body for answer in answered] == [completion()] * 2
        assert site.outcomes == {"completed": 2}
        site.assert_nothing_leased()


async def test_engine_that_refuses_connections_is_replaced_and_avoided(sites):
    async with sites(engines=2) as site:
        await site.engines[0].stop()
        for _ in range(10):
            assert (await site.ask(complete())).status == 200
        assert site.gateway.directory.engines["m-0"].health.state is not State.HEALTHY
        assert site.gateway.directory.engines["m-0"].health.failures <= 2


async def test_nothing_is_tried_twice_after_the_first_byte(sites):
    async with sites(engines=2) as site:

        async def broken(reply):
            await reply.begin_stream()
            await reply.event("one")
            await reply.close()

        for engine in site.engines:
            engine.default = broken
        response = await site.ask(complete(stream=True))
        assert sum(len(engine.requests) for engine in site.engines) == 1
        said, error, rest = response.body.partition(b'data: {"error"')
        assert said == event("one")
        assert b"[DONE]" not in response.body
        assert error
        assert b'"code":"stream_broken"' in rest
        assert b'"hop":"engine"' in rest
        assert site.outcomes == {"stream_broken": 1}
        site.assert_nothing_leased()


async def test_stream_broken_within_an_event_sends_no_half_event(site):
    async def broken(reply):
        await reply.begin_stream()
        await reply.chunk(event("one") + b'data: {"id":"cmpl')
        await reply.reset()

    site.engine.default = broken
    response = await site.ask(complete(stream=True))
    assert response.body.startswith(event("one") + b'data: {"error"')


async def test_stream_broken_on_messages_speaks_anthropic(site):
    async def broken(reply):
        await reply.begin_stream()
        await reply.chunk(b'event: message_start\ndata: {"type":"message_start"}\n\n')
        await reply.close()

    site.engine.default = broken
    response = await site.ask(complete(stream=True).replace(b"/v1/completions", b"/v1/messages"))
    assert b'event: error\ndata: {"type":"error"' in response.body


async def test_answer_of_known_length_cut_short_is_cut_for_the_client_too(site):
    async def broken(reply):
        await reply.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
        await reply.close()

    site.engine.default = broken
    wire = await site.open()
    await wire.send(complete())
    head = await wire.read_head()
    assert b"content-length: 100" in head
    assert len(await wire.closed()) < 100
    await until(lambda: site.outcomes == {"stream_broken": 1})


async def test_abort_mark_in_a_stream_is_counted_as_broken(site):
    seen = asyncio.Event()

    async def aborted(reply):
        await reply.begin_stream()
        await reply.event("one")
        await seen.wait()
        await reply.chunk(event("", "abort"))
        await reply.end_stream()

    site.engine.default = aborted
    wire = await site.open()
    await wire.send(complete(stream=True))
    await wire.read_head()
    await wire.read_chunk()
    seen.set()
    await until(lambda: site.outcomes)
    assert site.outcomes == {"stream_broken": 1}


async def test_stale_kept_connection_is_replaced_and_counted_as_nothing(site):
    assert (await site.ask(complete())).status == 200
    site.engine.close_idle()
    assert (await site.ask(complete())).status == 200
    engine = site.gateway.directory.engines["m-0"]
    assert engine.health.failures == 0


async def test_kept_connection_closed_at_the_very_moment_is_replaced(site):
    assert (await site.ask(complete())).status == 200
    site.engine.scripts.append(_die)  # on the kept connection: stale
    assert (await site.ask(complete())).body == completion()
    assert site.gateway.directory.engines["m-0"].health.failures == 0


@pytest.mark.parametrize(
    ("fault", "status", "code", "outcome"),
    [
        (_die, 502, "engine_failed", "upstream_failed"),
        (_garbage, 502, "engine_failed", "upstream_failed"),
        (_aborted, 502, "engine_failed", "upstream_failed"),
    ],
    ids=["closed", "garbage", "aborted"],
)
async def test_last_failure_is_explained(site, fault, status, code, outcome):
    site.engine.default = fault
    response = await site.ask(complete())
    assert (response.status, response.error["code"], response.error["hop"]) == (status, code, "engine")
    assert str(site.engine.port) not in response.body.decode()
    assert site.outcomes == {outcome: 1}


async def test_unreachable_engines_are_explained_without_their_address(site):
    await site.engine.stop()
    response = await site.ask(complete())
    assert (response.status, response.error["code"]) == (502, "engine_unreachable")
    assert "127.0.0.1" not in response.raw.decode()
    assert site.outcomes == {"upstream_refused": 1}


async def test_last_engines_own_words_are_relayed(site):
    site.engine.default = _full
    response = await site.ask(complete())
    assert (response.status, response.json["error"]["message"]) == (
        503,
        "The engine is currently busy and cannot accept new requests",
    )
    assert site.outcomes == {"no_capacity": 1}
    assert site.gateway.directory.engines["m-0"].health.state is State.HEALTHY


async def test_engine_that_does_not_begin_to_answer_times_out(sites):
    async with sites(timeouts={"first_byte_s": 0.1}) as site:

        async def silent(reply):
            await reply.gone()

        site.engine.default = silent
        response = await site.ask(complete())
        assert (response.status, response.error["code"]) == (504, "engine_timeout")
        assert site.outcomes == {"upstream_timeout": 1}


@pytest.mark.req("G5.retries", level="double")
async def test_retries_stop_when_the_budget_is_spent(sites):
    async with sites(engines=3, retry_per_s=0.0, retry_most=2.0, retries={"budget_ratio": 0.0}) as site:
        for engine in site.engines:
            engine.default = _die
        answers = [await site.ask(complete()) for _ in range(4)]
        assert [answer.status for answer in answers] == [502] * 4
        assert sum(len(engine.requests) for engine in site.engines) == 4 + 2
        metrics = (await site.ask(get("/metrics"))).body.decode()
        assert 'remuda_retries_total{model="m",phase="sent"} 2' in metrics
        assert 'remuda_retries_denied_total{model="m"} 2' in metrics


async def test_attempts_are_bounded(sites):
    async with sites(engines=5, retries={"attempts": 2}) as site:
        for engine in site.engines:
            engine.default = _die
        await site.ask(complete())
        assert sum(len(engine.requests) for engine in site.engines) == 2


async def test_killed_engine_under_load_loses_no_request_without_a_first_byte(sites):
    async with sites(engines=2) as site:
        release = asyncio.Event()

        async def slow(reply):
            await release.wait()
            await reply.answer(completion())

        for engine in site.engines:
            engine.default = slow
        wires = [await site.open() for _ in range(20)]
        for wire in wires:
            await wire.send(complete())
        await until(lambda: sum(len(engine.requests) for engine in site.engines) == 20)
        assert site.engines[0].requests
        await site.engines[0].stop()
        await until(lambda: len(site.engines[1].requests) == 20)
        release.set()
        assert [(await wire.read()).status for wire in wires] == [200] * 20
        site.assert_nothing_leased()


async def test_draining_endpoint_gets_nothing_new(sites):
    async with sites(engines=2) as site:
        from msgspec.structs import replace

        route = route_to(site.engines)
        first = replace(route.endpoints[0], state="draining")
        site.gateway.apply(Table(models=(replace(route, endpoints=(first, route.endpoints[1])),)))
        for _ in range(6):
            await site.ask(complete())
        assert [len(engine.requests) for engine in site.engines] == [0, 6]


async def test_engine_that_moved_is_found_at_its_new_port(site):
    await site.ask(complete())
    moved = await DoubleEngine().start()
    try:
        site.gateway.apply(Table(models=(route_to([moved]),)))
        assert (await site.ask(complete())).status == 200
        assert len(moved.requests) == 1
    finally:
        await moved.stop()
