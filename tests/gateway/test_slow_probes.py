"""A probe of an engine may take as long as `health.timeout` says, however short the ticks of the deadlines are."""

import asyncio
import contextlib
from time import monotonic

from tests.gateway.wire import until

from remuda.policy.health import State

TICK_S = 0.02


class HealthPage:
    """An engine's /health that takes `answer_s` to answer."""

    def __init__(self, answer_s: float) -> None:
        self.answer_s = answer_s
        self.answered = 0
        self.at_once = self.most_at_once = 0
        self.cut_after_s: list[float] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        began_at = monotonic()
        try:
            async with asyncio.timeout(self.answer_s):
                await reader.read()  # until the gateway gives up
            self.cut_after_s.append(monotonic() - began_at)
        except TimeoutError:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            self.answered += 1
        self.at_once -= 1
        writer.close()


@contextlib.asynccontextmanager
async def probed(sites, answer_s: float, timeout_s: float):
    """A site of one engine, of which the test answers the probes."""
    health = {"interval_s": 0.03, "timeout_s": timeout_s}
    async with sites(tick_s=TICK_S, health=health) as site:
        port = site.engine.port
        await site.engine.stop()
        page = HealthPage(answer_s)
        server = await asyncio.start_server(page.serve, "127.0.0.1", port)
        try:
            yield site.gateway.directory.engines["m-0"], page
        finally:
            server.close()


async def test_probe_that_takes_many_ticks_and_less_than_its_time_succeeds(sites):
    async with probed(sites, answer_s=8 * TICK_S, timeout_s=10.0) as (engine, page):
        before = engine.health
        await until(lambda: page.answered >= 4)
        assert engine.health is before  # never suspected, so nothing was counted
        assert before.state is State.HEALTHY
        assert page.most_at_once == 1


async def test_slow_probe_fails_after_its_time_and_not_before(sites):
    async with probed(sites, answer_s=60.0, timeout_s=0.25) as (engine, page):
        await until(lambda: engine.health.state is State.EJECTED, "three probes have failed")
        assert len(page.cut_after_s) >= 2
        assert min(page.cut_after_s) > 0.2
        assert page.answered == 0
        assert page.most_at_once == 1


async def test_slow_engine_that_was_ejected_comes_back_by_slow_probes(sites):
    async with probed(sites, answer_s=60.0, timeout_s=0.25) as (engine, page):
        await until(lambda: engine.health.state is State.EJECTED)
        page.answer_s = 4 * TICK_S
        await until(lambda: engine.health.state is State.HEALTHY, "two good probes")
