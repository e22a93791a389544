"""Batches: every entry is a request of its own, with its own tries, and its tokens count for its own model."""

import json
import re

import pytest
from tests.gateway.conftest import route_to
from tests.gateway.double_engine import completion
from tests.gateway.wire import get, post

from remuda.gateway.table import Endpoint, Table

ENTRIES = 30


def batch(*entries) -> bytes:
    return post("/batch-generate", json.dumps({"requests": list(entries)}).encode())


async def close(reply):
    await reply.close()


async def fail(reply):
    await reply.answer(b'{"error":{"message":"once"}}', b"500 Internal Server Error")


async def give_up(reply):
    await reply.answer(completion().replace(b'"stop"', b'"abort"'))


class OnceEach:
    """Engines that fail on each prompt the first time that any of them sees it."""

    def __init__(self, fault) -> None:
        self._fault = fault
        self._seen: set[str] = set()

    async def answer(self, reply) -> None:
        prompt = reply.request.json["prompt"]
        if prompt in self._seen:
            await reply.answer(completion(prompt.upper()))
        else:
            self._seen.add(prompt)
            await self._fault(reply)


def figures(page: str, name: str) -> dict[str, int]:
    """model → the figure of this counter."""
    found = re.findall(rf'^{name}{{model="([^"]*)"}} (\d+)$', page, re.MULTILINE)
    return {model: int(value) for model, value in found}


@pytest.mark.parametrize("fault", [close, fail, give_up], ids=["closed", "500", "abort"])
@pytest.mark.parametrize("engines", [2, 4])
async def test_entries_that_each_fail_once_all_succeed(sites, engines, fault):
    async with sites(engines=engines) as site:
        once = OnceEach(fault)
        for engine in site.engines:
            engine.default = once.answer
        response = await site.ask(batch(*({"prompt": f"p{number}"} for number in range(ENTRIES))))
        texts = [result.get("generated_text") for result in response.json["results"]]
        assert texts == [f"P{number}" for number in range(ENTRIES)]
        assert sum(len(engine.requests) for engine in site.engines) == 2 * ENTRIES
        page = (await site.ask(get("/metrics"))).body.decode()
        assert f'remuda_retries_total{{model="m",phase="sent"}} {ENTRIES}\n' in page
        assert 'remuda_requests_total{model="m",route="batch_generate",outcome="completed"} 1\n' in page
        site.assert_nothing_leased()


def two_models(site) -> Table:
    """Each model has an engine of its own."""
    other = Endpoint("n-0", "127.0.0.1", site.engines[1].port)
    return Table(models=(route_to(site.engines[:1]), route_to([], name="n", served_name="n", endpoints=(other,))))


async def test_tokens_of_each_entry_count_for_its_own_model(sites):
    async with sites(engines=2) as site:
        site.gateway.apply(two_models(site))
        models = ["m", "n", "n", "nope", "m", "n"]
        response = await site.ask(batch(*({"prompt": "x", "model": model} for model in models)))
        assert ["error" in result for result in response.json["results"]] == [model == "nope" for model in models]
        page = (await site.ask(get("/metrics"))).body.decode()
        assert figures(page, "remuda_prompt_tokens_total") == {"m": 2 * 5, "n": 3 * 5, "several": 0}
        assert figures(page, "remuda_generated_tokens_total") == {"m": 2 * 7, "n": 3 * 7, "several": 0}
        assert 'remuda_requests_total{model="several",route="batch_generate",outcome="completed"} 1\n' in page
        assert figures(page, "remuda_response_bytes_total")["several"] == 5 * len(completion())


@pytest.mark.parametrize("last", [{"prompt": 1}, {"prompt": "x", "model": "nope"}], ids=["bad-value", "unknown-model"])
async def test_entry_that_is_refused_does_not_hide_the_model_of_the_others(site, last):
    assert len((await site.ask(batch({"prompt": "x"}, last))).json["results"]) == 2
    page = (await site.ask(get("/metrics"))).body.decode()
    assert 'remuda_requests_total{model="m",route="batch_generate",outcome="completed"} 1\n' in page
    assert figures(page, "remuda_prompt_tokens_total") == {"m": 5}


async def test_entry_that_fails_on_two_engines_fails_alone_and_no_engine_is_blamed(sites):
    async with sites(engines=3) as site:

        async def fail_on_b(reply):
            prompt = reply.request.json["prompt"]
            await (fail(reply) if prompt == "b" else reply.answer(completion(prompt)))

        for engine in site.engines:
            engine.default = fail_on_b
        results = (await site.ask(batch(*({"prompt": prompt} for prompt in "abc")))).json["results"]
        assert ["error" in result for result in results] == [False, True, False]
        assert results[1]["error"]["message"] == ("The engine of the model 'm' refused this request (500): once")
        assert {engine.ejections for engine in site.gateway.directory.engines.values()} == {0}
        assert {engine.health.failures for engine in site.gateway.directory.engines.values()} == {0}
