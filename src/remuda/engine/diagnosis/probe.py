"""Questions to a running engine over HTTP: the models it serves, one token, its metrics, its version.

Whatever answers on the engine's port is untrusted, because another process may listen there. Every answer is bounded in
size and time and checked before it is used; an answer of another form counts as no answer. Proxies of the environment
are ignored, because the engine is on this machine. The module does not know processes, and decides nothing.
"""

import asyncio
import io
import wave
from typing import Any, Final, TypeVar

import httpx
import msgspec

from remuda.vllm.metrics import EngineMetrics, parse_metrics
from remuda.vllm.questions import TokenQuestion

ANSWER_TIMEOUT_S: Final = 5.0
"""A scrape takes 4 ms; after five seconds the API process itself hangs."""
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Largest answer that a probe reads. The metrics of an engine have about 100 KB, with many adapters a few MB."""
_SHOWN: Final = 200
"""Characters of a refusal worth repeating."""


Form = TypeVar("Form")


class NotAnsweredError(Exception):
    """The engine did not give the answer that was asked for; the text says what it gave."""


class ServedModel(msgspec.Struct, frozen=True):
    """One entry of /v1/models."""

    id: str
    max_model_len: int | None = None


class _Models(msgspec.Struct, frozen=True):
    data: tuple[ServedModel, ...]


class _Version(msgspec.Struct, frozen=True):
    version: str


class _Error(msgspec.Struct, frozen=True):
    message: str


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error


class Probe:
    """The HTTP side of one engine."""

    def __init__(self, host: str, port: int, question: TokenQuestion) -> None:
        self._question = question
        headers = {"Accept-Encoding": "identity"}  # a compressed answer could exceed the bound when it is unpacked
        self._client = httpx.AsyncClient(
            base_url=f"http://{host}:{port}", headers=headers, trust_env=False, timeout=ANSWER_TIMEOUT_S
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def fetch_models(self) -> tuple[ServedModel, ...]:
        """The models that are served; none while nobody listens, or when the answer is no list of models."""
        try:
            return parse_models(await self._ask("GET", "/v1/models", ANSWER_TIMEOUT_S))
        except NotAnsweredError:
            return ()

    async def ask_token(self, model: str, timeout_s: float) -> None:
        """Return when one token came; otherwise raise NotAnsweredError."""
        question = self._question
        content: dict[str, Any]
        if question.body is None:
            content = {"data": {"model": model}, "files": {"file": ("silence.wav", _silence(), "audio/wav")}}
        else:
            content = {"json": {"model": model, **question.body}}
        await self._ask("POST", question.path, timeout_s, **content)

    async def fetch_metrics(self) -> EngineMetrics | None:
        """Its counters; None when it does not answer."""
        try:
            body = await self._ask("GET", "/metrics", ANSWER_TIMEOUT_S)
        except NotAnsweredError:
            return None
        return parse_metrics(body.decode("utf-8", "replace"))

    async def fetch_version(self) -> str | None:
        """vLLM's own version; None when the answer holds none."""
        try:
            return _decode(await self._ask("GET", "/version", ANSWER_TIMEOUT_S), _Version).version[:_SHOWN]
        except (NotAnsweredError, ValueError):
            return None

    async def _ask(self, method: str, path: str, timeout_s: float, **content: Any) -> bytes:  # noqa: ANN401
        """The body of a 200 answer; NotAnsweredError says what came instead."""
        try:
            request = self._client.stream(method, path, timeout=timeout_s, **content)
            async with asyncio.timeout(timeout_s), request as answer:  # httpx alone bounds each read, not their sum
                body = await _read_body(answer, path)
        except TimeoutError as error:
            raise NotAnsweredError(f"no answer at {path} within {timeout_s:g} s") from error
        except (httpx.HTTPError, ValueError) as error:  # ValueError: a header that is no text
            raise NotAnsweredError(f"{type(error).__name__} at {path}") from error
        if answer.status_code != httpx.codes.OK:
            raise NotAnsweredError(f"{path} answered {answer.status_code}: {_explain(body)}")
        return body


async def _read_body(answer: httpx.Response, path: str) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise NotAnsweredError(f"{path} answered more than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def parse_models(body: bytes) -> tuple[ServedModel, ...]:
    """The entries of a /v1/models answer; none when it has another form."""
    try:
        return _decode(body, _Models).data
    except ValueError:
        return ()


def _explain(body: bytes) -> str:
    """The message of an error answer, or the beginning of the body."""
    try:
        return _decode(body, _Refusal).error.message[:_SHOWN]
    except ValueError:
        return body[:_SHOWN].decode("utf-8", "replace")


def _decode(body: bytes, form: type[Form]) -> Form:
    """The JSON in `body` as `form`; ValueError when it is something else."""
    try:
        return msgspec.json.decode(body, type=form)
    except RecursionError as error:
        raise ValueError("the answer is nested too deeply") from error


def _silence() -> bytes:
    """A tenth of a second of silence, 16 kHz mono."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(bytes(3200))
    return buffer.getvalue()
