"""The metrics of engines, read and published. The engines are doubles; tests/product asks real ones."""

import asyncio
from dataclasses import replace

import httpx
import pytest

from remuda.engine.status import EngineFacts, EngineState, EngineStatus
from remuda.fleet.reporting import engine_metrics
from remuda.fleet.reporting.engine_metrics import (
    KEPT_INTERVALS,
    EngineMetricsCollector,
    MetricsClient,
    count_outcomes,
    describe_engines,
    publish_metrics,
)
from remuda.observe import metrics
from remuda.observe.figures import FigureBoard, Figures, Series
from remuda.vllm.metrics import EngineMetrics

FACTS = EngineFacts(version="0.32.0")
READY = EngineStatus("my-demo", 0, EngineState.READY, "", "127.0.0.1", 9000, pid=7, facts=FACTS)
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
    """The answers of engines by URL; an engine that is missing does not answer."""

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


def test_every_metric_of_an_engine_has_its_model_and_replica() -> None:
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


def test_every_declared_metric_of_the_fleet_is_published() -> None:
    assert describe_engines([READY], {"my-demo-0": SEEN}).keys() == {m for m in metrics.METRICS if m.source == "fleet"}


def test_an_engine_that_cannot_be_asked_has_only_its_state_and_restarts() -> None:
    told = describe_engines([replace(READY, state=EngineState.BACKOFF, restarts=2, facts=EngineFacts())], {})
    states = told[metrics.ENGINE_STATE]
    assert [state for (*_, state), value in states.items() if value] == ["backoff"]
    assert len(states) == len(EngineState)
    assert told.keys() == {metrics.ENGINE_STATE, metrics.ENGINE_RESTARTS}
    assert told[metrics.ENGINE_RESTARTS][LABELS] == 2


async def test_only_engines_that_can_answer_are_asked() -> None:
    engines = Engines(port_9000=SEEN)
    statuses = [replace(READY, model=f"demo-{state}", state=state) for state in EngineState]
    await EngineMetricsCollector(engines.fetch).collect(statuses)
    assert sorted(engines.asked) == ["demo-draining-0", "demo-ready-0"]


async def test_an_engine_that_does_not_answer_keeps_its_metrics_for_a_few_intervals_only() -> None:
    engines = Engines(port_9000=SEEN)
    collector = EngineMetricsCollector(engines.fetch)
    await collector.collect([READY])
    engines.answers.clear()
    shown = [metrics.ENGINE_RUNNING in read(await collector.collect([READY])) for _ in range(KEPT_INTERVALS + 1)]
    assert shown == [True] * (KEPT_INTERVALS - 1) + [False] * 2


async def test_one_answer_in_between_starts_the_count_again() -> None:
    engines = Engines(port_9000=SEEN)
    collector = EngineMetricsCollector(engines.fetch)
    for answers in ({}, dict(engines.answers), {}, dict(engines.answers)):
        engines.answers = answers
        await collector.collect([READY])
    engines.answers = {}
    assert metrics.ENGINE_RUNNING in read(await collector.collect([READY]))


async def test_the_metrics_of_a_process_are_not_those_of_its_successor() -> None:
    engines = Engines(port_9000=SEEN)
    collector = EngineMetricsCollector(engines.fetch)
    await collector.collect([READY])
    engines.answers.clear()
    assert metrics.ENGINE_RUNNING not in read(await collector.collect([replace(READY, pid=8)]))


async def test_the_metrics_of_an_engine_that_ended_are_dropped_at_once() -> None:
    collector = EngineMetricsCollector(Engines(port_9000=SEEN, port_9001=SEEN).fetch)
    other = replace(READY, replica=1, port=9001, pid=8)
    assert read(await collector.collect([READY, other]))[metrics.ENGINE_RUNNING] == {LABELS: 3, ("my-demo", "1"): 3}
    stopped = replace(other, state=EngineState.STOPPED)
    assert read(await collector.collect([READY, stopped]))[metrics.ENGINE_RUNNING] == {LABELS: 3}


async def test_engines_are_asked_at_every_interval() -> None:
    told: asyncio.Queue[Figures] = asyncio.Queue()
    statuses = {"my-demo-0": replace(READY, state=EngineState.STARTING)}
    fetch = Engines(port_9000=SEEN).fetch
    telling = asyncio.create_task(publish_metrics(fetch, statuses.values, told.put_nowait, interval_s=0.0))
    assert metrics.ENGINE_RUNNING.name not in (await told.get()).series
    statuses["my-demo-0"] = READY
    async with asyncio.timeout(5):
        while metrics.ENGINE_RUNNING.name not in (await told.get()).series:
            pass
    telling.cancel()


async def test_a_collection_that_fails_is_logged_and_the_next_one_is_published(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: asyncio.Queue[Figures] = asyncio.Queue()
    fails = iter([True])

    async def fetch(_engine_id: str, _url: str) -> EngineMetrics | None:
        if next(fails, False):
            raise KeyError("a bug")
        return SEEN

    telling = asyncio.create_task(publish_metrics(fetch, lambda: [READY], told.put_nowait, interval_s=0.0))
    assert metrics.ENGINE_RUNNING.name in (await asyncio.wait_for(told.get(), 5)).series
    assert [record.message for record in caplog.records] == ["the engines' metrics could not be published"]
    telling.cancel()


GATEWAY = """\
# TYPE remuda_requests_total counter
remuda_requests_total{model="a",route="chat",outcome="completed"} 5
remuda_requests_total{model="b",route="completions",outcome="completed"} 2
remuda_requests_total{model="b",route="chat",outcome="client_disconnected"} 1
remuda_requests_total{model="unknown",route="metrics",outcome="completed"} 900
remuda_requests_in_flight{model="a"} 3
"""


def engine_says(generated: int, running: int = 0, waiting: int = 0) -> str:
    return (
        f'vllm:generation_tokens_total{{engine="0"}} {generated}\n'
        f'vllm:num_requests_running{{engine="0"}} {running}\nvllm:num_requests_waiting{{engine="0"}} {waiting}\n'
        'vllm:kv_cache_usage_perc{engine="0"} 0.5\n'
    )


def pretend(client: MetricsClient, monkeypatch: pytest.MonkeyPatch, *answers: str | None) -> None:
    """Give each scrape the next answer; None stands for an engine that does not answer."""
    left = list(answers)

    async def fetch(_url: str) -> httpx.Response:
        answer = left.pop(0)
        if answer is None:
            raise httpx.ConnectError("gone")
        return httpx.Response(200, text=answer)

    monkeypatch.setattr(client._client, "get", fetch)


def test_pages_that_the_gateway_answers_itself_are_not_counted() -> None:
    assert count_outcomes(GATEWAY) == {"completed": 7, "client_disconnected": 1}


async def test_speed_is_the_difference_of_two_scrapes(monkeypatch: pytest.MonkeyPatch) -> None:
    client = MetricsClient()
    pretend(client, monkeypatch, engine_says(100), engine_says(200, running=2))
    load = await client.fetch_load("demo-0", "http://x")
    assert load is not None
    assert (load.metrics.running, load.metrics.kv_usage) == (2, 0.5)
    assert 0 < load.tokens_per_s <= 100 / engine_metrics.SHORTEST_GAP_S
    await client.close()


async def test_an_engine_that_was_restarted_has_no_negative_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    client = MetricsClient()
    pretend(client, monkeypatch, engine_says(1000), engine_says(10))
    load = await client.fetch_load("demo-0", "http://x")
    assert load is not None
    assert load.tokens_per_s == 0
    await client.close()


async def test_an_engine_that_does_not_answer_has_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    client = MetricsClient()
    pretend(client, monkeypatch, None, None)
    assert await client.fetch_load("demo-0", "http://x") is None
    assert await client.count_requests("http://x") is None
    await client.close()


async def test_load_counts_running_and_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    client = MetricsClient()
    pretend(client, monkeypatch, engine_says(0, running=2, waiting=3))
    assert await client.count_requests("http://x") == 5
    await client.close()
