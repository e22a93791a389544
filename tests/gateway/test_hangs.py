"""An engine that nobody supervises is watched by its work: a hung one gets no requests until it works again."""

import asyncio

from tests.gateway.conftest import route_to
from tests.gateway.double_engine import completion
from tests.gateway.wire import complete, get, until

from remuda.gateway.table import Endpoint, ModelRoute, Table

WATCHED = {
    "hung_after_s": 0.2,
    "hung_sample_s": 0.02,
    "hung_question_every_s": 0.05,
    "hung_question_timeout_s": 0.05,
}


class Counters:
    """What an engine's metrics page shows."""

    def __init__(self) -> None:
        self.running = 0
        self.tokens = 0
        self.prefix = b"vllm"

    async def answer(self, reply) -> None:
        page = b"# HELP\n%b:num_requests_running{} %d\n%b:generation_tokens_total{} %d\n" % (
            self.prefix, self.running, self.prefix, self.tokens,
        )  # fmt: skip
        await reply.answer(page)


def script(counters: Counters, *, answers: bool):
    """An engine whose completions are answered, or never."""

    async def serve(reply) -> None:
        if reply.request.line.startswith("GET /metrics"):
            await counters.answer(reply)
        elif answers:
            await reply.answer(completion())
        else:
            await reply.gone()

    return serve


def asked(engine) -> int:
    """Requests of clients, without the gateway's own one-token questions."""
    return sum(b'"max_tokens":1,"temperature":0' not in request.body for request in engine.requests if request.body)


async def test_idle_engine_that_answers_no_question_is_hung_until_it_answers(sites):
    async with sites(engines=2, **WATCHED) as site:
        deaf, well = site.engines
        counters = Counters()
        deaf.default = script(counters, answers=False)
        well.default = script(Counters(), answers=True)
        engine = site.gateway.directory.engines["m-0"]
        await until(lambda: engine.hung)
        for _ in range(4):
            assert (await site.ask(complete())).status == 200
        assert asked(deaf) == 0
        deaf.default = script(counters, answers=True)
        for request in list(deaf._tasks):
            request.cancel()  # the connection of the unanswered question ends
        await until(lambda: not engine.hung)
        for _ in range(4):
            assert (await site.ask(complete())).status == 200
        assert asked(deaf) > 0


async def test_busy_engine_whose_counters_stand_still_is_hung_and_one_whose_counters_move_is_not(sites):
    async with sites(engines=2, **WATCHED) as site:
        stuck, busy = Counters(), Counters()
        stuck.running = busy.running = 3

        async def work(reply) -> None:
            busy.tokens += 1
            await busy.answer(reply)

        site.engines[0].default = script(stuck, answers=True)
        site.engines[1].default = work
        engines = site.gateway.directory.engines
        await until(lambda: engines["m-0"].hung)
        seen = len(site.engines[1].requests)
        await until(lambda: len(site.engines[1].requests) > seen + 20)
        assert not engines["m-1"].hung


async def test_hung_engines_are_used_when_there_is_no_other(sites):
    async with sites(**WATCHED) as site:
        stuck = Counters()
        stuck.running = 1
        site.engine.default = script(stuck, answers=True)
        await until(lambda: site.gateway.directory.engines["m-0"].hung)
        assert (await site.ask(complete())).status == 200
        assert (await site.ask(get("/ready"))).status == 503


async def test_server_without_metrics_of_vllm_is_not_judged(sites):
    async with sites(**WATCHED) as site:
        foreign = Counters()
        foreign.prefix = b"other"
        site.engine.default = script(foreign, answers=False)
        await until(lambda: len(site.engine.requests) > 20)
        assert not site.gateway.directory.engines["m-0"].hung
        assert all(request.line.startswith("GET /metrics") for request in site.engine.requests)


async def test_supervised_engine_is_left_to_its_supervisor(sites):
    async with sites(**WATCHED) as site:
        port = site.engine.port
        model = ModelRoute("m", "m", endpoints=(Endpoint("m-0", "127.0.0.1", port, supervised=True),))
        site.gateway.apply(Table(models=(model,)))
        await asyncio.gather(*(site.ask(get("/health")) for _ in range(5)))
        for _ in range(5):
            await site.ask(complete())
        assert [request.line for request in site.engine.requests] == ["POST /v1/completions HTTP/1.1"] * 5


async def test_engine_that_leaves_the_table_is_no_longer_watched(sites):
    async with sites(engines=2, **WATCHED) as site:
        for engine in site.engines:
            engine.default = script(Counters(), answers=True)
        await until(lambda: all(engine.requests for engine in site.engines))
        site.gateway.apply(Table(models=(route_to(site.engines[:1]),)))
        await until(lambda: list(site.gateway._hang_watch._watched) == [site.gateway.directory.engines["m-0"]])
