"""Following the table: a source that fails is followed again, and words about a start change nothing but words."""

import asyncio
import logging
import os
import signal

import pytest
from tests.gateway.conftest import adjust, route_to
from tests.gateway.double_engine import DoubleEngine, completion
from tests.gateway.test_access import KEY, bearer, with_keys
from tests.gateway.test_drain import SETTINGS, Child
from tests.gateway.wire import DEADLINE_S, Wire, complete, get, until

from remuda.gateway import app
from remuda.gateway.app import follow
from remuda.gateway.errors import GatewayError
from remuda.gateway.table import ModelRoute, Split, Table, Waiting


class Source:
    """Says what it is told: tables, or an error in their place. Each list is one time that it is watched."""

    def __init__(self, *watches: list) -> None:
        self._watches = list(watches)

    async def watch(self):
        for said in self._watches.pop(0):
            if isinstance(said, Exception):
                raise said
            yield said


def table(*names: str) -> Table:
    return Table(models=tuple(ModelRoute(name, name) for name in names))


def names(site) -> list[str]:
    return [model.route.name for model in site.gateway.directory.models]


@pytest.fixture
def pauses(monkeypatch):
    """Short ones."""
    monkeypatch.setattr(app, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(app, "_LONGEST_PAUSE_S", 0.004)


FOLLOWED_AGAIN = "following the table failed; it stays as it is, and is followed again in {} s"


async def test_source_that_fails_is_logged_and_followed_again(site, caplog, pauses):
    error = RuntimeError("the disk is gone")
    await follow(site.gateway, Source([table("a"), error], [table("b")]))
    assert names(site) == ["b"]
    (record,) = caplog.records
    assert (record.levelno, record.message) == (logging.ERROR, FOLLOWED_AGAIN.format("0.001"))
    assert record.exc_info[1] is error


async def test_table_stays_as_it_is_while_its_source_fails(site, caplog, pauses):
    following = asyncio.create_task(follow(site.gateway, Source([table("a"), OSError()], *[[OSError()]] * 100_000)))
    await until(lambda: len(caplog.records) >= 3)
    assert names(site) == ["a"]
    assert (await site.ask(get("/ready/a"))).status == 503
    following.cancel()


async def test_pause_grows_to_its_bound_and_is_short_again_after_a_good_table(site, caplog, pauses):
    bad = [OSError("x")]
    await follow(site.gateway, Source(bad, bad, bad, bad, [table("a"), *bad], bad, []))
    told = [record.message for record in caplog.records]
    assert told == [FOLLOWED_AGAIN.format(s) for s in ("0.001", "0.002", "0.004", "0.004", "0.001", "0.002")]


async def test_fault_in_taking_over_a_table_does_not_end_the_follower(site, caplog, pauses, monkeypatch):
    apply = site.gateway.apply

    def fail_once(change):
        monkeypatch.setattr(site.gateway, "apply", apply)
        raise KeyError("a fault of ours")

    monkeypatch.setattr(site.gateway, "apply", fail_once)
    await follow(site.gateway, Source([table("a")], [table("b")]))
    assert names(site) == ["b"]
    assert [record.message for record in caplog.records] == [FOLLOWED_AGAIN.format("0.001")]


async def test_table_that_is_refused_leaves_the_one_before_in_force(site, caplog, monkeypatch):
    apply = site.gateway.apply

    def refuse_b(change):
        if change == table("b"):
            raise GatewayError("b is impossible")
        apply(change)

    monkeypatch.setattr(site.gateway, "apply", refuse_b)
    await follow(site.gateway, Source([table("a"), table("b")]))
    assert names(site) == ["a"]
    assert [record.message for record in caplog.records] == ["the new table was refused: b is impossible"]


async def test_source_that_refuses_later_is_followed_again(site, caplog, pauses):
    await follow(site.gateway, Source([table("a"), GatewayError("not now")], [table("b")]))
    assert names(site) == ["b"]
    assert [record.message for record in caplog.records] == [FOLLOWED_AGAIN.format("0.001")]


async def test_first_table_that_cannot_be_served_ends_the_process_with_its_reason(pauses):
    gateway = app.Gateway(adjust(SETTINGS, listen={"host": "0.0.0.0"}))
    with pytest.raises(GatewayError, match="refusing to listen on"):
        await follow(gateway, Source([table("a")]))


# ---- words about a start


async def test_words_about_a_start_reach_clients_and_change_nothing_else(site):
    site.gateway.identifier.reuse_s = 3600.0
    with_keys(site)
    site.gateway.apply(Table(models=(route_to(site.engines), ModelRoute("n", "n", waiting="loading")), keys=keys(site)))
    wire = await site.open()
    assert (await wire.ask(complete(headers=bearer(KEY)))).status == 200
    link = next(iter(site.gateway.clients.links))
    directory, ring = site.gateway.directory, site.gateway.identifier.ring
    models, generation, identity = list(directory.models), directory.generation, link._memo.head.identity
    turns = [model.turn for model in models]
    site.gateway.apply(Waiting({"n": "loading weights: 40 %", "gone": "never"}))
    refused = await site.ask(get("/ready/n", bearer(KEY)))
    assert refused.error["message"] == "The model 'n' is not ready: loading weights: 40 %."
    assert directory.models == models
    assert [model.turn for model in models] == turns
    assert (directory.generation, site.gateway.identifier.ring) == (generation, ring)
    assert (await wire.ask(complete(headers=bearer(KEY)))).status == 200
    assert link._memo.head.identity is identity


def keys(site):
    return tuple(site.gateway._keys)


async def test_new_table_keeps_what_is_known_of_models_engines_and_keys(sites):
    async with sites(engines=2) as site:
        site.gateway.identifier.reuse_s = 3600.0
        with_keys(site)
        wire = await site.open()
        for _ in range(3):
            assert (await wire.ask(complete(headers=bearer(KEY)))).status == 200
        link = next(iter(site.gateway.clients.links))
        directory, ring = site.gateway.directory, site.gateway.identifier.ring
        (model,), engines, identity = directory.models, dict(directory.engines), link._memo.head.identity
        turn, connects = model.turn, [engine.pool.connects for engine in engines.values()]
        changed = Table(models=(route_to(site.engines, aliases=("new",)), ModelRoute("n", "n")), keys=keys(site))
        site.gateway.apply(changed)
        assert directory.models[0] is model
        assert (model.turn, model.route.aliases) == (turn, ("new",))
        assert directory.engines == engines
        assert site.gateway.identifier.ring is ring
        assert (await wire.ask(complete(headers=bearer(KEY)))).status == 200
        assert link._memo.head.identity is identity
        assert [engine.pool.connects for engine in engines.values()] == connects


async def test_new_keys_are_asked_for_on_connections_that_are_open(site):
    with_keys(site)
    wire = await site.open()
    assert (await wire.ask(complete(headers=bearer(KEY)))).status == 200
    ring = site.gateway.identifier.ring
    site.gateway.apply(Table(models=(route_to(site.engines),), keys_wanted=True))
    assert site.gateway.identifier.ring is not ring
    assert (await wire.ask(complete(headers=bearer(KEY)))).status == 401


async def test_name_that_is_divided_goes_to_its_models_by_weight(sites):
    async with sites(engines=2) as site:
        models = tuple(
            ModelRoute(name, name, endpoints=(endpoint,))
            for name, endpoint in zip("ab", route_to(site.engines).endpoints, strict=True)
        )
        divided = Table(models=models, splits=(Split("m", (("a", 3), ("b", 1))),))
        site.gateway.apply(divided)
        for _ in range(8):
            assert (await site.ask(complete())).status == 200
        assert [len(engine.requests) for engine in site.engines] == [6, 2]
        assert {request.json["model"] for request in site.engines[0].requests} == {"a"}


# ---- the process


@pytest.fixture
async def child():
    started = await Child.start()
    yield started
    if started.process.returncode is None:
        started.process.kill()
        await started.process.wait()
    started.writer.close()
    await started.process.stderr.read()


async def hear_beats(child, number: int) -> None:
    """Wait for so many signs of life."""
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(number):
            assert await child.reader.readline() == b'{"event":"alive"}\n'


async def until_status(port: int, request: bytes, status: int):
    """Ask until the answer has this status."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            wire = await Wire.open(port)
            response = await wire.ask(request)
            await wire.close()
            if response.status == status:
                return response


async def test_process_goes_on_after_a_line_that_makes_no_sense(child):
    engine = await DoubleEngine().start()
    child.tell(settings=SETTINGS)
    child.tell(table=Table(models=(route_to([]),)))
    port = (await child.hear())["port"]
    child.writer.write(b'{"table": {"models": 7}}\n')
    child.tell(waiting=Waiting({"m": "loading weights"}))
    response = await until_status(port, get("/ready/m"), 503)
    while "loading weights" not in response.error["message"]:
        response = await until_status(port, get("/ready/m"), 503)
    child.tell(table=Table(models=(route_to([engine]),)))
    await until_status(port, complete(), 200)
    child.process.terminate()
    assert (await child.hear())["event"] == "drained"
    assert await child.end() == 0
    await engine.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_a_process_at_once_that_waits_for_its_first_table(child, number):
    child.tell(settings=SETTINGS)
    await hear_beats(child, 2)
    os.kill(child.process.pid, number)
    assert await child.end() == 0


async def test_end_of_its_parent_ends_a_process_that_waits_for_its_first_table(child):
    child.tell(settings=SETTINGS)
    await hear_beats(child, 1)
    child.writer.write_eof()
    assert await child.end() == 0


LAME = adjust(SETTINGS, timeouts={"lame_duck_s": 3600.0})


async def test_process_serves_and_follows_on_while_load_balancers_notice_that_it_stops(child):
    engine = await DoubleEngine().start()
    child.tell(settings=LAME)
    child.tell(table=Table(models=(route_to([]),)))
    port = (await child.hear())["port"]
    child.process.terminate()
    stopping = await until_status(port, get("/ready"), 503)
    while stopping.json["waiting"] != {"*": "the gateway is shutting down"}:
        stopping = await until_status(port, get("/ready"), 503)
    assert (await until_status(port, get("/health"), 200)).headers["connection"] == "close"
    child.tell(table=Table(models=(route_to([engine]),)))
    assert (await until_status(port, complete(), 200)).body == completion()
    child.process.terminate()  # somebody is in a hurry
    assert (await child.hear()) == {"event": "drained", "clean": True}
    assert await child.end() == 0
    await engine.stop()


# ---- the same in this process


async def test_stopping_gateway_says_so_at_once_and_serves_on(sites):
    async with sites(timeouts={"lame_duck_s": 3600.0}) as site:
        kept = await site.open()
        await kept.ask(get("/health"))
        draining = asyncio.create_task(site.gateway.drain())
        await asyncio.sleep(0)
        ready = await site.ask(get("/ready"))
        assert (ready.status, ready.json["waiting"]) == (503, {"*": "the gateway is shutting down"})
        of_model = await site.ask(get("/ready/m"))
        assert (of_model.status, of_model.error["message"]) == (
            503,
            "The model 'm' is not ready: the gateway is shutting down.",
        )
        for wire in (kept, await site.open()):
            answer = await wire.ask(complete())
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await wire.closed() == b""
        assert not draining.done()
        site.gateway.hurry.set()
        assert await draining is True
        with pytest.raises(ConnectionRefusedError):
            await site.open()


async def test_stopping_gateway_ends_when_its_lame_duck_time_is_over(sites):
    async with sites(timeouts={"lame_duck_s": 0.05}) as site:
        idle = await site.open()
        assert await site.gateway.drain() is True
        assert await idle.closed() == b""


async def test_request_is_refused_when_the_lame_duck_time_is_over(sites):
    async with sites(timeouts={"lame_duck_s": 0.01}) as site:
        release = asyncio.Event()

        async def held(reply):
            await release.wait()
            await reply.answer(completion())

        site.engine.default = held
        busy, idle = await site.open(), await site.open()
        await busy.send(complete())
        await until(lambda: site.engine.requests)
        draining = asyncio.create_task(site.gateway.drain())
        assert await idle.closed() == b""
        release.set()
        assert (await busy.read()).status == 200
        assert await draining is True


async def test_second_signal_cuts_what_is_left(sites):
    async with sites(timeouts={"drain_s": 3600.0}) as site:

        async def never(reply):
            await reply.gone()

        site.engine.default = never
        wire = await site.open()
        await wire.send(complete())
        await until(lambda: site.engine.requests)
        draining = asyncio.create_task(site.gateway.drain())
        await asyncio.sleep(0)
        site.gateway.hurry.set()
        assert await draining is False
        assert await wire.closed() == b""
