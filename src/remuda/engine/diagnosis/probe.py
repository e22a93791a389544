"""Questions to a running engine, over its own HTTP interface.

    ask_names      which names it serves
    ask_token      one real answer: the only proof that its core works
    ask_metrics    counters and sizes

Does not know processes or decisions. Called by `supervise`. Proxies of the environment are ignored: the engine is on
this machine.
"""

import io
import json
import wave
from typing import Any

import httpx

from remuda.vllm.metrics import EngineMetrics, parse_metrics
from remuda.vllm.questions import TokenQuestion

METRICS_TIMEOUT_S = 5.0
"""A scrape takes 4 ms; five seconds mean the API process itself is stuck."""


class NotAnsweredError(Exception):
    """The engine did not give the answer asked for; the text says what it gave."""


class Probe:
    """One engine's HTTP side."""

    def __init__(self, host: str, port: int, question: TokenQuestion) -> None:
        self._question = question
        self._client = httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False)

    async def close(self) -> None:
        await self._client.aclose()

    async def ask_names(self) -> tuple[dict[str, Any], ...]:
        """Entries of /v1/models; empty while nobody listens."""
        try:
            answer = await self._client.get("/v1/models", timeout=METRICS_TIMEOUT_S)
            return tuple(answer.raise_for_status().json()["data"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return ()

    async def ask_token(self, model: str, timeout_s: float) -> None:
        """Return when one token came; NotAnsweredError otherwise."""
        question = self._question
        try:
            if question.body is None:
                files = {"file": ("silence.wav", _silence(), "audio/wav")}
                answer = await self._client.post(question.path, data={"model": model}, files=files, timeout=timeout_s)
            else:
                body = {"model": model, **question.body}
                answer = await self._client.post(question.path, json=body, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise NotAnsweredError(f"{type(error).__name__} at {question.path}") from error
        if answer.status_code != httpx.codes.OK:
            raise NotAnsweredError(f"{question.path} answered {answer.status_code}: {_message(answer.text)}")

    async def ask_metrics(self) -> EngineMetrics | None:
        """Its counters; None when it does not answer."""
        try:
            answer = await self._client.get("/metrics", timeout=METRICS_TIMEOUT_S)
        except httpx.HTTPError:
            return None
        return parse_metrics(answer.text) if answer.status_code == httpx.codes.OK else None

    async def ask_version(self) -> str | None:
        """vLLM's own version."""
        try:
            answer = await self._client.get("/version", timeout=METRICS_TIMEOUT_S)
            return str(answer.raise_for_status().json()["version"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["error"]["message"])[:200]
    except (ValueError, KeyError, TypeError):
        return text[:200]


def _silence() -> bytes:
    """A tenth of a second of nothing, 16 kHz mono."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(bytes(3200))
    return buffer.getvalue()
