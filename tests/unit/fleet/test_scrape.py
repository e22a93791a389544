import httpx
import pytest

from remuda.fleet import scrape

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


def pretend(scraper: scrape.Scraper, monkeypatch: pytest.MonkeyPatch, *answers: str | None) -> None:
    """Each scrape gets the next answer; None = the engine is gone."""
    left = list(answers)

    async def fetch(_url: str) -> httpx.Response:
        answer = left.pop(0)
        if answer is None:
            raise httpx.ConnectError("gone")
        return httpx.Response(200, text=answer)

    monkeypatch.setattr(scraper._client, "get", fetch)


def test_pages_of_the_gateway_are_not_requests() -> None:
    assert scrape.count_outcomes(GATEWAY) == {"completed": 7, "client_disconnected": 1}


async def test_speed_is_the_difference_of_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    scraper = scrape.Scraper()
    pretend(scraper, monkeypatch, engine_says(100), engine_says(200, running=2))
    figures = await scraper.fetch_engine("demo-0", "http://x")
    assert figures is not None
    assert (figures.metrics.running, figures.metrics.kv_usage) == (2, 0.5)
    assert 0 < figures.tokens_per_s <= 100 / scrape.SHORTEST_GAP_S
    await scraper.close()


async def test_engine_that_started_again_has_no_negative_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    scraper = scrape.Scraper()
    pretend(scraper, monkeypatch, engine_says(1000), engine_says(10))
    figures = await scraper.fetch_engine("demo-0", "http://x")
    assert figures is not None
    assert figures.tokens_per_s == 0
    await scraper.close()


async def test_engine_that_is_gone_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    scraper = scrape.Scraper()
    pretend(scraper, monkeypatch, None, None)
    assert await scraper.fetch_engine("demo-0", "http://x") is None
    assert await scraper.fetch_load("http://x") is None
    await scraper.close()


async def test_load_counts_running_and_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    scraper = scrape.Scraper()
    pretend(scraper, monkeypatch, engine_says(0, running=2, waiting=3))
    assert await scraper.fetch_load("http://x") == 5
    await scraper.close()
