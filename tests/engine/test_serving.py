"""What one running engine does: read-back, batching, caching, sampling, adapters. One engine for all."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from remuda.engine.status import EngineState
from remuda.machine.processes import find_descendants, find_group
from remuda.vllm.dialect import DIALECTS
from remuda.vllm.metrics import parse_metrics
from remuda.vllm.routes import ROUTES

pytestmark = pytest.mark.asyncio(loop_scope="session")
LONG = "The quick brown fox jumps over the lazy dog, again and again, until the dog wakes up. " * 4
"""More than two blocks of 32 tokens with any tokenizer."""


def read_environment(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(entry.decode().split("=", 1) for entry in entries if entry)


def listening_addresses() -> list[str]:
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()]
    return [fields[1] for fields in lines if fields[3] == "0A"]


@pytest.mark.req("E1.read-back", level="run", on="vLLM")
async def test_a_ready_engine_states_its_kv_tokens_context_length_and_version(shared, adapters):
    status = shared.status
    blocks = await shared.metric("vllm:cache_config_info")
    assert blocks == 1
    assert status.facts.max_model_len == 2048
    assert status.facts.version in DIALECTS
    assert status.facts.kv_tokens is not None
    assert status.facts.kv_tokens % 32 == 0


async def test_an_engine_serves_its_name_its_aliases_and_its_adapters(shared, adapters):
    async with httpx.AsyncClient(trust_env=False) as client:
        entries = (await client.get(f"{shared.url}/v1/models")).json()["data"]
    assert [entry["id"] for entry in entries] == ["small", "little", *adapters]


async def test_a_start_passes_its_stages_in_order_each_with_a_reason(shared):
    reasons = [status.reason for status in shared.history if status.state is EngineState.STARTING]
    wanted = [
        "starting Python",
        "reading the model",
        "starting the engine core",
        "loading weights",
        "setting up the KV",
    ]
    places = [next(i for i, reason in enumerate(reasons) if reason.startswith(text)) for text in wanted]
    assert places == sorted(places)
    assert shared.history[-1].state is EngineState.READY


async def test_every_process_of_an_engine_is_in_its_own_group(shared):
    assert set(find_descendants(shared.status.pid)) <= set(find_group(shared.status.pid))


async def test_the_parser_of_metrics_reads_what_a_real_engine_says(shared):
    await shared.text("hello")
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{shared.url}/metrics")).text
    seen = parse_metrics(text)
    assert seen.kv_tokens == shared.status.facts.kv_tokens
    assert seen.block_tokens == 32
    assert seen.generated_tokens > 0
    assert (seen.running, seen.waiting) == (0, 0)


async def test_every_forwarded_route_of_a_generating_model_exists_in_the_engine(shared):
    async with httpx.AsyncClient(trust_env=False) as client:
        for route in ROUTES.values():
            if route.capability in ("chat", "completion", "any"):
                answer = await client.request(route.method, f"{shared.url}{route.path}", json={})
                assert answer.status_code not in (404, 405), route.path


@pytest.mark.req("E4.prefix-cache", level="run", on="vLLM")
async def test_a_repeated_prompt_hits_the_prefix_cache(shared):
    await shared.complete(LONG)
    hits = await shared.metric("vllm:prefix_cache_hits_total")
    again = await shared.complete(LONG)
    await shared.until_metric("vllm:prefix_cache_hits_total", hits + 32)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= 32


async def test_n_gives_that_many_answers(shared):
    answer = await shared.complete("Once", n=3, temperature=1.0, seed=1)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]


async def test_beam_search_finds_an_answer_for_each_beam(shared):
    answer = await shared.complete("Once", n=2, use_beam_search=True, max_tokens=8)
    assert len({choice["text"] for choice in answer["choices"]}) == 2


@pytest.mark.req("E4.mixed-batch", level="run", on="vLLM")
async def test_greedy_seeded_and_beam_requests_share_a_batch_without_touching_each_other(shared):
    alone = await shared.text("Hello there", max_tokens=40)
    mixed = await asyncio.gather(
        shared.text("Hello there", max_tokens=40),
        shared.text("Hello there", max_tokens=40, temperature=1.0, seed=3),
        shared.complete("Hello there", n=2, use_beam_search=True, max_tokens=10),
        shared.text("Hello there", max_tokens=40),
    )
    assert mixed[0] == mixed[3] == alone


@pytest.mark.req("E2.late-request", level="run", on="vLLM")
async def test_a_late_request_joins_a_running_batch_and_ends_first(shared):
    body = {"model": "small", "prompt": "Tell", "max_tokens": 1500, "ignore_eos": True, "stream": True}
    order: list[str] = []
    started = asyncio.Event()

    async def early() -> int:
        events = 0
        async with (
            httpx.AsyncClient(trust_env=False, timeout=120) as client,
            client.stream("POST", f"{shared.url}/v1/completions", json=body) as answer,
        ):
            async for line in answer.aiter_lines():
                events += line.startswith("data: {")
                started.set()
        order.append("early")
        return events

    task = asyncio.create_task(early())
    await started.wait()
    await shared.text("Late", max_tokens=4)
    order.append("late")
    assert await task > 1000
    assert order == ["late", "early"]


@pytest.mark.req("E6.adapters", level="run", on="vLLM")
async def test_an_adapter_is_asked_for_by_its_name_and_answers_differently(shared, adapters):
    question = "What is a gateway?"
    base = await shared.chat(question, model="small")
    assert await shared.chat(question, model="little") == base
    answers = [await shared.chat(question, model=name) for name in adapters]
    assert len({base, *answers}) == 1 + len(adapters)


async def test_nothing_secret_or_from_the_users_shell_is_in_the_engines_environment(shared):
    names = set(read_environment(shared.status.pid))
    assert "HF_TOKEN" not in names
    assert {"VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "HF_HUB_OFFLINE"} <= names


async def test_an_engine_listens_on_loopback_only(shared):
    port = f"{shared.status.port:04X}"
    assert [address for address in listening_addresses() if address.endswith(port)] == [f"0100007F:{port}"]


async def test_models_lists_every_served_name(shared, adapters):
    async with httpx.AsyncClient(trust_env=False) as client:
        listed = json.loads((await client.get(f"{shared.url}/v1/models")).text)["data"]
    assert {entry["id"] for entry in listed} == {"small", "little", *adapters}
