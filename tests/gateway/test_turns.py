"""Pipelined requests: one connection does not keep the others waiting."""

from tests.gateway.loop_turns import LoopTurns
from tests.gateway.wire import complete, get, until

BURST = 16
PIPELINED = 2_000


def served(site) -> int:
    return sum(site.outcomes.values())


async def test_pipelined_requests_are_served_a_few_in_each_turn_of_the_loop(site):
    wire = await site.open()
    async with LoopTurns(lambda: served(site)) as turns:
        await wire.send(get("/v1/completion") * PIPELINED)
        await until(lambda: served(site) == PIPELINED, "all are answered")
    assert max(turns.steps) <= 2 * BURST  # one burst from the loop, one from the socket
    assert len(turns.steps) >= PIPELINED // (2 * BURST)
    for _ in range(PIPELINED):
        response = await wire.read()
        assert response.status == 404
    assert response.error["message"] == (
        "There is no GET '/v1/completion' on this gateway. Did you mean /v1/completions or /v1/chat/completions?"
    )


async def test_others_are_answered_between_the_bursts(site):
    wire, other = await site.open(), await site.open()
    await wire.send(get("/nothing/here") * PIPELINED)
    answered = 0
    while served(site) - answered < PIPELINED:
        assert (await other.ask(get("/health"))).status == 200
        answered += 1
    assert answered >= PIPELINED // (4 * BURST)


async def test_connection_that_closes_between_two_bursts_is_served_no_further(site):
    wire = await site.open()
    await wire.send(get("/health") * PIPELINED)
    async with LoopTurns(lambda: wire.writer.transport.abort() or 0 if served(site) else 0):
        await until(lambda: not site.gateway.clients.links)
    assert 0 < served(site) < PIPELINED // 2


async def test_request_for_an_engine_behind_bursts_is_served_in_its_order(site):
    wire = await site.open()
    await wire.send(get("/health") * 50 + complete("x") + get("/nothing") * 50)
    statuses = [(await wire.read()).status for _ in range(101)]
    assert statuses == [200] * 51 + [404] * 50
