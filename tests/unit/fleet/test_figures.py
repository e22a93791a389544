"""What the gateway is told of the engines. Pretended engines; the real ones are asked in tests/product."""

import asyncio
from dataclasses import replace

import pytest

from remuda.engine.status import EngineState, EngineStatus
from remuda.fleet.figures import KEPT_LOOKS, Lookout, describe_engines, keep_telling
from remuda.observe import metrics
from remuda.observe.figures import FigureBoard, Figures, Series
from remuda.vllm.metrics import EngineMetrics

READY = EngineStatus("my-demo-0", "my-demo", EngineState.READY, "", "127.0.0.1", 9000, pid=7, version="0.32.0")
SEEN = EngineMetrics(
    running=3,
    waiting=2,
    kv_usage=0.25,
    prompt_tokens=10,
    generated_tokens=20,
    preemptions=1,
    prefix_queries=9,
    prefix_hits=4,
    requests_done=5,
    cache={"kv_cache_size_tokens": "768"},
)
LABELS = ("my-demo", "0")


class Engines:
    """What each URL answers; one that is missing does not."""

    def __init__(self, **answers: EngineMetrics) -> None:
        self.answers = {f"http://127.0.0.1:{name.removeprefix('port_')}": seen for name, seen in answers.items()}
        self.asked: list[str] = []

    async def fetch(self, engine_id: str, url: str) -> EngineMetrics | None:
        self.asked.append(engine_id)
        return self.answers.get(url)


def read(told: Figures) -> Series:
    board = FigureBoard()
    board.take(told, 0.0)
    return board.read(0.0)


def test_every_figure_of_an_engine_is_told_under_its_model_and_replica() -> None:
    told = describe_engines([READY], {"my-demo-0": SEEN})
    assert {metric.name: series[LABELS] for metric, series in told.items() if LABELS in series} == {
        "remuda_engine_restarts_total": 0,
        "remuda_engine_requests_running": 3,
        "remuda_engine_requests_waiting": 2,
        "remuda_engine_kv_cache_usage_ratio": 0.25,
        "remuda_engine_kv_cache_tokens": 768,
        "remuda_engine_prompt_tokens_total": 10,
        "remuda_engine_generated_tokens_total": 20,
        "remuda_engine_preemptions_total": 1,
        "remuda_engine_prefix_cache_queries_tokens_total": 9,
        "remuda_engine_prefix_cache_hits_tokens_total": 4,
        "remuda_engine_requests_done_total": 5,
    }
    assert told[metrics.ENGINE_INFO] == {(*LABELS, "0.32.0"): 1}


def test_every_declared_figure_of_the_fleet_is_told() -> None:
    assert describe_engines([READY], {"my-demo-0": SEEN}).keys() == {m for m in metrics.METRICS if m.source == "fleet"}


def test_engine_that_cannot_be_asked_is_told_by_its_state_alone() -> None:
    told = describe_engines([replace(READY, state=EngineState.BACKOFF, restarts=2, version=None)], {})
    states = told[metrics.ENGINE_STATE]
    assert [state for (*_, state), value in states.items() if value] == ["backoff"]
    assert len(states) == len(EngineState)
    assert told.keys() == {metrics.ENGINE_STATE, metrics.ENGINE_RESTARTS}
    assert told[metrics.ENGINE_RESTARTS][LABELS] == 2


async def test_only_engines_that_can_answer_are_asked() -> None:
    engines = Engines(port_9000=SEEN)
    statuses = [replace(READY, id=f"demo-{state}", state=state) for state in EngineState]
    await Lookout(engines.fetch).look(statuses)
    assert sorted(engines.asked) == ["demo-draining", "demo-ready"]


async def test_engine_that_does_not_answer_keeps_its_figures_for_a_few_looks_only() -> None:
    engines = Engines(port_9000=SEEN)
    lookout = Lookout(engines.fetch)
    await lookout.look([READY])
    engines.answers.clear()
    shown = [metrics.ENGINE_RUNNING in read(await lookout.look([READY])) for _ in range(KEPT_LOOKS + 1)]
    assert shown == [True] * (KEPT_LOOKS - 1) + [False] * 2


async def test_one_answer_in_between_starts_the_count_again() -> None:
    engines = Engines(port_9000=SEEN)
    lookout = Lookout(engines.fetch)
    for answers in ({}, dict(engines.answers), {}, dict(engines.answers)):
        engines.answers = answers
        await lookout.look([READY])
    engines.answers = {}
    assert metrics.ENGINE_RUNNING in read(await lookout.look([READY]))


async def test_what_a_process_counted_says_nothing_about_its_successor() -> None:
    engines = Engines(port_9000=SEEN)
    lookout = Lookout(engines.fetch)
    await lookout.look([READY])
    engines.answers.clear()
    assert metrics.ENGINE_RUNNING not in read(await lookout.look([replace(READY, pid=8)]))


async def test_engine_that_is_gone_vanishes_at_once() -> None:
    lookout = Lookout(Engines(port_9000=SEEN, port_9001=SEEN).fetch)
    other = replace(READY, id="my-demo-1", port=9001, pid=8)
    assert read(await lookout.look([READY, other]))[metrics.ENGINE_RUNNING] == {LABELS: 3, ("my-demo", "1"): 3}
    stopped = replace(other, state=EngineState.STOPPED)
    assert read(await lookout.look([READY, stopped]))[metrics.ENGINE_RUNNING] == {LABELS: 3}


async def test_engines_are_looked_at_again_and_again() -> None:
    told: asyncio.Queue[Figures] = asyncio.Queue()
    statuses = {"my-demo-0": replace(READY, state=EngineState.STARTING)}
    fetch = Engines(port_9000=SEEN).fetch
    telling = asyncio.create_task(keep_telling(fetch, statuses.values, told.put_nowait, look_s=0.0))
    assert metrics.ENGINE_RUNNING.name not in (await told.get()).series
    statuses["my-demo-0"] = READY
    async with asyncio.timeout(5):
        while metrics.ENGINE_RUNNING.name not in (await told.get()).series:
            pass
    telling.cancel()


async def test_a_look_that_fails_ends_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    told: asyncio.Queue[Figures] = asyncio.Queue()
    fails = iter([True])

    async def fetch(_engine_id: str, _url: str) -> EngineMetrics | None:
        if next(fails, False):
            raise KeyError("a bug")
        return SEEN

    telling = asyncio.create_task(keep_telling(fetch, lambda: [READY], told.put_nowait, look_s=0.0))
    assert metrics.ENGINE_RUNNING.name in (await asyncio.wait_for(told.get(), 5)).series
    assert [record.message for record in caplog.records] == ["the engines' figures could not be told"]
    telling.cancel()
