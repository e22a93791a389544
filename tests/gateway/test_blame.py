"""A request that fails everywhere is at fault itself; an engine that fails what others answer is ejected."""

import asyncio

import pytest
from tests.gateway.double_engine import answer_like_vllm, completion, event
from tests.gateway.wire import DEADLINE_S, complete, until

from remuda.policy.health import State

WORDS = b'{"error":{"message":"division by zero","code":500}}'


async def fail(reply):
    await reply.answer(WORDS, b"500 Internal Server Error")


async def die(reply):
    await reply.close()


async def fall_silent(reply):
    await reply.gone()


async def break_off(reply):
    await reply.begin_stream()
    await reply.event("one")
    await reply.close()


async def drain(reply):
    words = b'{"error":{"message":"cannot schedule new futures after shutdown","code":500}}'
    await reply.answer(words, b"500 Internal Server Error")


async def be_busy(reply):
    words = b'{"error":{"message":"The engine is currently busy and cannot accept new requests"}}'
    await reply.answer(words, b"503 Service Unavailable")


def unless_good(fault):
    """An engine that fails on one client's requests only."""

    async def answer(reply):
        await (answer_like_vllm if reply.request.json["prompt"] == "good" else fault)(reply)

    return answer


def states(site) -> list[State]:
    return [engine.health.state for engine in site.gateway.directory.engines.values()]


def ejections(site) -> int:
    return sum(engine.ejections for engine in site.gateway.directory.engines.values())


@pytest.mark.parametrize("fault", [fail, die], ids=["500", "closed"])
@pytest.mark.parametrize("engines", [1, 2, 3, 5])
async def test_requests_that_fail_everywhere_eject_nobody(sites, engines, fault):
    async with sites(engines=engines, retries={"attempts": 10}) as site:
        for engine in site.engines:
            engine.default = unless_good(fault)
        for _ in range(20):
            bad = await site.ask(complete("bad"))
            assert bad.status == (500 if fault is fail else 502)
            assert (await site.ask(complete("good"))).status == 200
        assert ejections(site) == 0
        assert State.EJECTED not in states(site)
        site.assert_nothing_leased()


@pytest.mark.parametrize("engines", [1, 2, 3, 5])
async def test_only_bad_requests_for_a_long_time_eject_nobody(sites, engines):
    async with sites(engines=engines, retries={"attempts": 10, "budget_ratio": 1.0}) as site:
        for engine in site.engines:
            engine.default = unless_good(fail)
        for _ in range(30):
            response = await site.ask(complete("bad"))
            assert (response.status, response.body) == (500, WORDS)  # the last engine's own words
        assert ejections(site) == 0
        assert site.outcomes == {"upstream_failed": 30}
        assert sum(len(engine.requests) for engine in site.engines) == 30 * min(engines, 2)
        assert (await site.ask(complete("good"))).status == 200


async def test_requests_that_time_out_everywhere_eject_nobody(sites):
    async with sites(engines=2, timeouts={"first_byte_s": 0.05}) as site:
        for engine in site.engines:
            engine.default = unless_good(fall_silent)
        for _ in range(4):
            response = await site.ask(complete("bad"))
            assert (response.status, response.error["code"]) == (504, "engine_timeout")
        assert ejections(site) == 0
        assert (await site.ask(complete("good"))).status == 200


async def test_streams_that_break_everywhere_eject_nobody(sites):
    async with sites(engines=2) as site:
        for engine in site.engines:
            engine.default = unless_good(break_off)
        for _ in range(10):
            assert b'"code":"stream_broken"' in (await site.ask(complete("bad", stream=True))).body
        assert ejections(site) == 0
        assert (await site.ask(complete("good", stream=True))).body.startswith(event("one"))


@pytest.mark.parametrize("fault", [fail, die, fall_silent], ids=["500", "closed", "silent"])
@pytest.mark.parametrize("engines", [2, 3])
async def test_engine_that_fails_what_others_answer_is_ejected(sites, engines, fault):
    async with sites(engines=engines, timeouts={"first_byte_s": 0.1}) as site:
        site.engines[0].default = fault
        async with asyncio.timeout(DEADLINE_S):
            while states(site)[0] is not State.EJECTED:
                assert (await site.ask(complete())).status == 200
        assert ejections(site) == 1
        assert set(site.outcomes) == {"completed"}


async def test_draining_engine_is_ejected_whatever_it_was_asked(site):
    site.engine.default = drain
    for _ in range(3):
        assert (await site.ask(complete())).status == 500
    assert states(site) == [State.EJECTED]


async def test_engine_that_refuses_connections_is_ejected_whatever_it_was_asked(sites):
    async with sites(engines=2) as site:
        for engine in site.engines:
            await engine.stop()
        for _ in range(3):
            assert (await site.ask(complete())).status == 502
        assert states(site) == [State.EJECTED, State.EJECTED]


async def test_full_engine_is_nobodys_fault(sites):
    async with sites(engines=2) as site:
        for engine in site.engines:
            engine.default = be_busy
        for _ in range(10):
            assert (await site.ask(complete())).status == 503
        assert states(site) == [State.HEALTHY, State.HEALTHY]
        assert sum(len(engine.requests) for engine in site.engines) == 20


async def test_client_that_leaves_between_two_tries_blames_as_if_it_had_stayed(sites):
    async with sites(engines=2) as site:
        release = asyncio.Event()

        async def wait(reply):
            await release.wait()
            await reply.answer(completion())

        site.engines[0].default = fail
        site.engines[1].default = wait
        wire = await site.open()
        await wire.send(complete())
        await until(lambda: site.engines[1].requests)
        await wire.close()
        await until(lambda: site.outcomes == {"client_disconnected": 1})
        assert ejections(site) == 0
        release.set()
        site.assert_nothing_leased()
