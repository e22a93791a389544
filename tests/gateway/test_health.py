"""Engines are watched: probed, ejected, readmitted."""

import asyncio

import pytest
from tests.gateway.wire import complete, get, until

from remuda.policy.health import State


@pytest.mark.req("G5.probes", level="double")
async def test_engine_that_fails_its_probes_is_ejected_and_comes_back(sites):
    async with sites(engines=2, health={"interval_s": 0.05}) as site:
        first = site.gateway.directory.engines["m-0"]
        await until(lambda: site.engines[0].probes >= 1)
        site.engines[0].healthy = False
        await until(lambda: first.health.state is State.EJECTED, "ejection")
        for _ in range(4):
            await site.ask(complete())
        assert len(site.engines[0].requests) == 0
        site.engines[0].healthy = True
        await until(lambda: first.health.state is State.HEALTHY, "recovery")
        assert first.ejections >= 1


async def test_ejected_engine_comes_back_after_as_many_good_probes_as_asked_for(sites):
    async with sites(engines=2, health={"interval_s": 0.05, "successes": 20}) as site:
        first = site.gateway.directory.engines["m-0"]
        site.engines[0].healthy = False
        await until(lambda: first.health.state is State.EJECTED, "ejection")
        site.engines[0].healthy = True
        await until(lambda: first.health.successes >= 2, "good probes")
        assert first.health.state is State.PROBING
        missing, probes = 20 - first.health.successes, site.engines[0].probes
        await until(lambda: first.health.state is State.HEALTHY, "recovery")
        assert site.engines[0].probes - probes >= missing - 1  # one may have been under way


async def test_dead_engine_is_noticed_without_traffic(sites):
    async with sites(health={"interval_s": 0.05}) as site:
        await until(lambda: site.engine.probes >= 1)
        assert (await site.ask(get("/ready"))).status == 200
        await site.engine.stop()
        await until(lambda: not site.gateway.directory.models[0].ready)
        response = await site.ask(get("/ready"))
        assert response.status == 503
        assert response.json["waiting"] == {"m": "its engines do not answer"}


async def test_probe_that_hangs_has_failed(sites):
    async with sites(health={"interval_s": 0.05, "timeout_s": 0.1}) as site:
        never = asyncio.Event()

        async def hang(reader, writer):
            await never.wait()
            writer.transport.abort()

        port = site.engine.port
        await site.engine.stop()
        server = await asyncio.start_server(hang, "127.0.0.1", port)
        engine = site.gateway.directory.engines["m-0"]
        await until(lambda: engine.health.state is State.EJECTED)
        never.set()
        server.close()
        await server.wait_closed()


async def test_all_engines_ejected_still_get_requests_rather_than_nobody(sites):
    async with sites(engines=2, health={"interval_s": 0.05}) as site:
        for engine in site.engines:
            engine.healthy = False
        await until(lambda: all(e.health.state is State.EJECTED for e in site.gateway.directory.engines.values()))
        assert (await site.ask(complete())).status == 200
