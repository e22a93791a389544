"""The metrics page of a gateway in front of real engines holds the gateway's counts and the engines' figures."""

import asyncio
from collections.abc import Callable

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from tests.product.driving import GONE_S, Machine, until
from tests.product.test_two_engines import MODEL, ask_many

from remuda.fleet.reporting.engine_metrics import INTERVAL_S

REQUESTS = 8
TOKENS = 32


def fetch_page(url: str, accept: str, parse: Callable[[str], list[Metric]]) -> list[Metric]:
    answer = httpx.get(f"{url}/metrics", headers={"accept": accept}, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(accept)
    return list(parse(answer.text))


def sum_samples(families: list[Metric], name: str) -> float:
    """The sum of a sample over all engines."""
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def count_samples(families: list[Metric], name: str) -> int:
    return sum(sample.name == name for family in families for sample in family.samples)


@pytest.mark.req("O1.figures", level="run", on="vLLM")
@pytest.mark.parametrize(
    ("accept", "parse"),
    [("text/plain", parse_text), ("application/openmetrics-text", parse_openmetrics)],
    ids=["text", "openmetrics"],
)
def test_page_shows_what_real_engines_did(
    busy_machine: Machine, url: str, accept: str, parse: Callable[[str], list[Metric]]
) -> None:
    """The page counts requests as soon as the fleet has read its engines' metrics again."""
    engines = len(busy_machine.status()["engines"])

    def look_first() -> list[Metric] | None:
        page = fetch_page(url, accept, parse)
        return page if count_samples(page, "remuda_engine_requests_done_total") == engines else None

    before = until(look_first, INTERVAL_S + GONE_S, "every engine is on the page")
    assert before is not None
    answers = asyncio.run(ask_many(url, REQUESTS, TOKENS))
    assert {answer.status_code for answer in answers} == {200}

    def look() -> list[Metric] | None:
        page = fetch_page(url, accept, parse)
        grown = growth(page, "remuda_engine_requests_done_total")
        return page if grown >= REQUESTS else None

    def growth(page: list[Metric], name: str) -> float:
        return sum_samples(page, name) - sum_samples(before, name)

    page = until(look, INTERVAL_S + GONE_S, "the page shows the requests")
    assert page is not None
    assert growth(page, "remuda_engine_generated_tokens_total") >= REQUESTS * TOKENS
    assert growth(page, "remuda_engine_prompt_tokens_total") > REQUESTS
    assert growth(page, "remuda_engine_prefix_cache_queries_tokens_total") > REQUESTS
    assert growth(page, "remuda_request_duration_seconds_count") == REQUESTS
    names = {sample.name for family in page for sample in family.samples}
    assert names >= {
        "remuda_time_to_first_byte_seconds_bucket",
        "remuda_engine_requests_running",
        "remuda_engine_requests_waiting",
        "remuda_engine_preemptions_total",
        "remuda_engine_prefix_cache_hits_tokens_total",
        "remuda_engine_info",
    }
    check_engines(busy_machine, page)


def check_engines(machine: Machine, page: list[Metric]) -> None:
    """The page has the state and the KV cache of each engine that `status` lists."""
    engines = machine.status()["engines"]
    samples = [sample for family in page for sample in family.samples if sample.labels.get("model") == MODEL]

    def pick(name: str, **labels: str) -> dict[str, float]:
        return {
            sample.labels["replica"]: sample.value
            for sample in samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    replicas = {str(engine["replica"]): engine for engine in engines}
    assert pick("remuda_engine_state", state="ready") == dict.fromkeys(replicas, 1)
    assert pick("remuda_engine_kv_cache_tokens") == {name: engine["kv_tokens"] for name, engine in replicas.items()}
    usage = pick("remuda_engine_kv_cache_usage_ratio")
    assert usage.keys() == replicas.keys()
    assert all(0 <= value < 1 for value in usage.values())
    assert [sample.value for sample in samples if sample.name == "remuda_model_ready"] == [1]
