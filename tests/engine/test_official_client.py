"""The official `openai` client asks a gateway for what models that do not chat can do: vectors, and speech to text."""

import math
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from tests.engine.route_requests import render_tone

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(front) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{front.port}/v1", api_key="not-needed", max_retries=0) as made:
        yield made


@pytest.mark.req("A1.official-embeddings", level="run", on="vLLM")
@pytest.mark.parametrize("form", ["float", "base64"])
async def test_texts_become_vectors(client, form):
    answer = await client.embeddings.create(model="embed", input=["one", "two"], encoding_format=form)
    assert [entry.index for entry in answer.data] == [0, 1]
    if form == "float":
        assert [math.hypot(*entry.embedding) for entry in answer.data] == [pytest.approx(1.0, rel=1e-4)] * 2
    assert answer.usage.prompt_tokens > 0


@pytest.mark.req("A1.official-audio", level="run", on="vLLM")
async def test_speech_becomes_text(client):
    asked = {"model": "listen", "language": "en", "temperature": 0, "extra_body": {"max_completion_tokens": 8}}
    whole = await client.audio.transcriptions.create(file=("tone.wav", render_tone()), **asked)
    assert whole.text
