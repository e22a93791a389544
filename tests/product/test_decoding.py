"""Prefix caching and mixed ways of decoding, asked for through the gateway of two real engines."""

import asyncio
import secrets
from typing import Any

import httpx
import pytest

MODEL = "remuda-demo"
BLOCK_TOKENS = 128
"""The size of a KV cache block on a CPU when a file does not set it."""
ENGINES = 2
TRIES = 8
"""So many streams reach both engines at the latest."""


@pytest.mark.req("E4.prefix-cache", level="run", on="vLLM")
def test_a_prompt_that_is_sent_again_is_found_in_the_prefix_cache(url: str) -> None:
    """Of three equal requests, two reach the same engine."""
    text = "The quick brown fox jumps over the lazy dog, again and again, until the dog wakes up. " * 10
    body = {"model": MODEL, "prompt": f"{secrets.token_hex(16)} {text}", "max_tokens": 1, "temperature": 0}
    found = []
    for _ in range(ENGINES + 1):
        answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        found.append((answer.json()["usage"]["prompt_tokens_details"] or {}).get("cached_tokens") or 0)
    assert found[0] == 0
    assert max(found) >= BLOCK_TOKENS


async def start_stream(client: httpx.AsyncClient) -> tuple[str, asyncio.Task[None]]:
    """Start a stream of many seconds and wait for its first token: the name of its engine, and a task that reads on."""
    body = {"model": MODEL, "prompt": "Tell me", "max_tokens": 1900, "ignore_eos": True, "stream": True}
    answer = await client.send(client.build_request("POST", "/v1/completions", json=body), stream=True)
    lines = answer.aiter_lines()
    assert (await anext(lines)).startswith("data: {")

    async def read_on() -> None:
        try:
            async for _ in lines:
                pass
        finally:
            await answer.aclose()

    return answer.headers["x-remuda-engine"], asyncio.create_task(read_on())


async def occupy_engines(client: httpx.AsyncClient) -> list[asyncio.Task[None]]:
    """Start streams until each engine has one: the gateway sends each stream to the engine with the least to do."""
    engines, streams = set(), []
    for _ in range(TRIES):
        engine, stream = await start_stream(client)
        engines.add(engine)
        streams.append(stream)
        if len(engines) == ENGINES:
            return streams
    raise AssertionError(f"{TRIES} streams went to {engines} only")


async def complete(client: httpx.AsyncClient, **fields: Any) -> list[str]:
    body = {"model": MODEL, "prompt": "The sun is", "max_tokens": 30, "temperature": 0, **fields}
    answer = await client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    return [choice["text"] for choice in answer.json()["choices"]]


@pytest.mark.req("E4.mixed-batch", level="run", on="vLLM")
def test_greedy_seeded_and_beam_requests_share_a_batch_without_touching_each_other(url: str) -> None:
    """Each engine runs a long stream all the while, so every other answer comes from a batch with a stream in it."""

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
            alone = await complete(client)
            streams = await occupy_engines(client)
            first, seeded, beams, second = await asyncio.gather(
                complete(client),
                complete(client, temperature=2.0, seed=3),
                complete(client, n=2, use_beam_search=True, max_tokens=10),
                complete(client),
            )
            assert [stream.done() for stream in streams] == [False] * len(streams)
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
            assert first == second == alone
            assert seeded != alone
            assert len(set(beams)) == 2

    asyncio.run(ask())
