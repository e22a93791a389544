"""A client of the OpenAI routes: the first answer of `up`, and `remuda chat`.

It is a client like any other: it knows URLs and answers, and nothing of the fleet. `stream_answer` yields text as it
arrives; `fetch_models` lists what is served. Every error of the HTTP library becomes a ChatError here.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from remuda.fleet.errors import FleetError

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 600.0  # between two pieces of an answer: a long queue or a long prompt on a CPU takes minutes
Message = dict[str, str]


class ChatError(FleetError):
    """There is no answer, or not a whole one."""


@dataclass(frozen=True, slots=True)
class Address:
    """A server, and the key to use."""

    url: str
    """Without /v1 and without a slash at the end."""
    api_key: str = field(default="", repr=False)
    is_ours: bool = False
    """Whether it is the gateway of this machine. Its certificate is not checked: it names the host that clients use."""


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """How to answer; parameters that are None are not sent."""

    max_tokens: int | None = None
    temperature: float | None = None

    def render(self) -> dict[str, Any]:
        """The request fields."""
        fields = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer. The last part has the token count of the whole answer."""

    text: str = ""
    tokens: int | None = None


DEFAULTS = SamplingParameters()


async def stream_answer(
    address: Address,
    model: str,
    messages: Sequence[Message],
    parameters: SamplingParameters = DEFAULTS,
    *,
    chat: bool = True,
) -> AsyncIterator[Piece]:
    """The answer to `messages`, piece by piece; with `chat` off, the model completes the last message as plain text.

    An empty `model` lets the gateway choose one.
    """
    named = {"model": model} if model else {}
    body: dict[str, Any] = {**named, "stream": True, "stream_options": {"include_usage": True}, **parameters.render()}
    if chat:
        path, body["messages"] = "/v1/chat/completions", list(messages)
    else:
        path, body["prompt"] = "/v1/completions", messages[-1]["content"]
    async with _client(address) as client, client.stream("POST", path, json=body) as response:
        if response.status_code != httpx.codes.OK:
            raise _explain_answer(response.status_code, await response.aread())
        async for line in response.aiter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                yield _read_piece(json.loads(line[len("data: ") :]))


async def fetch_models(address: Address) -> list[dict[str, Any]]:
    """The models served at `address`, as /v1/models lists them."""
    async with _client(address) as client:
        response = await client.get("/v1/models")
        if response.status_code != httpx.codes.OK:
            raise _explain_answer(response.status_code, response.content)
        models: list[dict[str, Any]] = response.json()["data"]
        return models


@contextlib.asynccontextmanager
async def _client(address: Address) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {_checked_key(address.api_key)}"} if address.api_key.strip() else {}
    timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    # trust_env off: a proxy of the environment must not stand between this process and this machine
    client = httpx.AsyncClient(
        base_url=_checked_url(address.url),
        headers=headers,
        timeout=timeout,
        trust_env=False,
        verify=not address.is_ours,
    )
    async with client:
        try:
            yield client
        except (ValueError, AttributeError, TypeError, KeyError, IndexError) as error:
            raise ChatError(f"what {address.url} answers is not in the form of the OpenAI API ({error})") from error
        except httpx.ConnectError as error:
            raise ChatError(f"nothing answers at {address.url}", "start a fleet with `remuda up`") from error
        except httpx.TimeoutException as error:
            raise ChatError(
                f"no answer from {address.url} in time", "`remuda status` shows what it is doing"
            ) from error
        except httpx.HTTPError as error:
            raise ChatError(f"the answer broke off: {error or type(error).__name__}") from error


def _checked_key(key: str) -> str:
    """The key without surrounding white space. A key that cannot be in a header is refused, and not repeated."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise ChatError("the API key has characters that no key has", "check REMUDA_API_KEY")
    return key


def _checked_url(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ChatError(f"{url} is not an address: {error}", "write it like http://127.0.0.1:8080") from error


def _read_piece(piece: dict[str, Any]) -> Piece:
    if "error" in piece:
        error = piece["error"]
        raise ChatError(str(error.get("message", error) if isinstance(error, dict) else error))
    choice = (piece.get("choices") or [{}])[0]
    usage = piece.get("usage") or {}
    return Piece(choice.get("delta", {}).get("content") or choice.get("text") or "", usage.get("completion_tokens"))


def _explain_answer(status: int, body: bytes) -> ChatError:
    hints = {401: "set REMUDA_API_KEY to a key from `remuda tenant create`", 404: "`remuda status` lists the models"}
    try:
        error = json.loads(body)["error"]
        message = error["message"] if isinstance(error, dict) else str(error)
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace")[:200]
    return ChatError(f"{message} (status {status})", hints.get(status, ""))
