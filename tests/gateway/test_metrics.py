"""GET /metrics as a scraper asks for it: the format it prefers, and the figures that the fleet tells."""

import asyncio
from time import monotonic

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from tests.gateway.test_drain import SETTINGS, Child
from tests.gateway.wire import Wire, complete, get

from remuda.gateway.table import Table
from remuda.observe import metrics
from remuda.observe.figures import pack_figures

FIGURES = pack_figures({metrics.ENGINE_RUNNING: {("m", "0"): 3}, metrics.ENGINE_KV_USAGE: {("m", "0"): 0.5}}, 15.0)
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def read(families) -> dict[str, float]:
    """Name and labels → value."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("headers", "content_type", "parse"),
    [
        (b"", TEXT, parse_text),
        (b"accept: */*\r\n", TEXT, parse_text),
        (b"accept: application/openmetrics-text; version=1.0.0\r\n", OPENMETRICS, parse_openmetrics),
        (b"Accept: text/plain;q=0.5\r\nACCEPT: application/openmetrics-text\r\n", OPENMETRICS, parse_openmetrics),
    ],
    ids=["no preference", "anything", "openmetrics", "two headers"],
)
async def test_page_is_in_the_format_the_scraper_prefers(site, headers, content_type, parse):
    await site.ask(complete())
    site.gateway.board.take(FIGURES, monotonic())
    answer = await site.ask(get("/metrics", headers))
    assert (answer.status, answer.headers["content-type"]) == (200, content_type)
    text = answer.body.decode()
    assert text.endswith("# EOF\n") == (parse is parse_openmetrics)
    values = read(parse(text))
    assert values["remuda_requests_total[('model', 'm'), ('outcome', 'completed'), ('route', 'completions')]"] == 1
    assert values["remuda_engine_requests_running[('model', 'm'), ('replica', '0')]"] == 3
    assert values["remuda_time_to_first_byte_seconds_count[('model', 'm')]"] == 1


async def test_process_shows_the_figures_it_is_told_and_nothing_of_engines_before():
    child = await Child.start()
    child.tell(settings=SETTINGS)
    child.tell(table=Table())
    wire = await Wire.open((await child.hear())["port"])
    assert b"remuda_engine_" not in (await wire.ask(get("/metrics"))).body
    child.tell(figures=FIGURES)
    async with asyncio.timeout(10):
        while (
            b'remuda_engine_kv_cache_usage_ratio{model="m",replica="0"} 0.5'
            not in (await wire.ask(get("/metrics"))).body
        ):
            pass
    await wire.close()
    child.process.terminate()
    assert await child.end() == 0


async def test_figures_that_are_too_old_are_not_shown(site):
    site.gateway.board.take(FIGURES, monotonic() - FIGURES.lasting_s - 1)
    assert b"remuda_engine_" not in (await site.ask(get("/metrics"))).body
