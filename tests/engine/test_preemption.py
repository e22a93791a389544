"""A KV cache far too small for its load, and the end of an engine that still has work."""

import asyncio

import httpx
import pytest
import pytest_asyncio
from tests.engine.running import make_document

from remuda.engine.status import EngineState
from remuda.machine import processes

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cramped(launch, small_model):
    """12 blocks of 32 tokens: room for one and a half requests of the full length."""
    model = make_document("cramped", small_model, maxModelLen=256, kvCacheBlocks=12, maxNumSeqs=8, drainTimeout="60s")
    running = launch(model)
    await running.until_ready()
    return running


@pytest.mark.req("E3.preempted", level="run", on="vLLM")
async def test_preemption_loses_no_request_and_changes_no_answer(cramped):
    prompts = [f"Question number {index}: what then?" for index in range(8)]
    fields = {"max_tokens": 150, "ignore_eos": True}
    alone = [await cramped.text(prompt, **fields) for prompt in prompts]
    assert await cramped.metric("vllm:num_preemptions_total") == 0
    together = await asyncio.gather(*(cramped.text(prompt, **fields) for prompt in prompts))
    await cramped.until_metric("vllm:num_preemptions_total", 1)
    assert together == alone


async def test_draining_finishes_running_streams_and_leaves_nothing(cramped):
    body = {"model": "cramped", "prompt": "Go on", "max_tokens": 200, "ignore_eos": True, "stream": True}
    started = [asyncio.Event() for _ in range(4)]

    async def stream(index: int) -> str:
        parts: list[str] = []
        async with (
            httpx.AsyncClient(trust_env=False, timeout=120) as client,
            client.stream("POST", f"{cramped.url}/v1/completions", json=body) as answer,
        ):
            async for line in answer.aiter_lines():
                started[index].set()
                parts.append(line)
        return "\n".join(parts)

    streams = [asyncio.create_task(stream(index)) for index in range(4)]
    await asyncio.gather(*(event.wait() for event in started))
    pid = cramped.status.pid
    await cramped.engine.drain()
    ends = await asyncio.gather(*streams)
    assert all('"finish_reason":"length"' in end and "abort" not in end for end in ends)
    assert cramped.status.state is EngineState.STOPPED
    assert EngineState.DRAINING in [status.state for status in cramped.history]
    assert processes.find_group(pid) == []
