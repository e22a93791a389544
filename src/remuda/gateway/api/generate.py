"""/generate and /batch-generate: a prompt in, a text out. Pure translation to and from the engine's /v1/completions.

    {"prompt": "Hello"}  →  {"generated_text": " there.", "num_tokens": 3, "finish_reason": "stop", …}

With `"stream": true` the answer is server-sent events: `data: {"text": " there"}` as it comes, then one event with
`num_tokens` and `finish_reason`, then `data: [DONE]`. A batch is a list of such requests, each with its own parameters;
its results come in the same order, and a bad entry fails alone, as {"error": …} in its place.

Does not know which model or engine serves it, nor HTTP.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from remuda.gateway.api import problems
from remuda.gateway.api.generate_request import Generate
from remuda.gateway.api.problems import Problem

LONGEST_EVENT_BYTES = 1_048_576
"""Of one event of an engine; logprobs are not asked for, so a token takes about 250 bytes."""


def render_completion(request: Generate, model: str) -> bytes:
    """The body for /v1/completions of an engine that knows the model as `model`."""
    body: dict[str, Any] = {
        "model": model,
        "prompt": request.prompt,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
    }
    if request.stop is not None:
        body["stop"] = request.stop
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(body)


class _Choice(msgspec.Struct):
    text: str = ""
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    """An answer of /v1/completions, whole or one event of it."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    model: str = ""


_completion_decoder = msgspec.json.Decoder(_Completion)


class Generated(msgspec.Struct, frozen=True):
    """The answer of /generate."""

    generated_text: str
    num_tokens: int
    finish_reason: str | None
    prompt_tokens: int
    model: str


def render_generated(completion: bytes, model: str) -> bytes:
    """The answer of /generate from the engine's; `model` is the name to say. ValueError when it is not a completion."""
    answer = _completion_decoder.decode(completion)  # DecodeError is a ValueError
    if not answer.choices:
        raise ValueError("the engine's answer has no choices")
    usage = answer.usage or _Usage()
    choice = answer.choices[0]
    generated = Generated(choice.text, usage.completion_tokens, choice.finish_reason, usage.prompt_tokens, model)
    return msgspec.json.encode(generated)


def render_batch(results: Sequence[bytes]) -> bytes:
    """The answer of /batch-generate: `results` are its entries as JSON, in order."""
    return b'{"results":[' + b",".join(results) + b"]}"


def render_entry_error(problem: Problem) -> bytes:
    """An entry that failed before an engine saw it."""
    return b'{"error":' + msgspec.json.encode(problem.error()) + b"}"


def render_engine_refusal(status: int, body: bytes, model: str) -> bytes:
    """An entry that the engine refused (4xx): its own words, with the status that they came with."""
    try:
        message = msgspec.json.decode(body, type=_Refused).error.message
    except msgspec.DecodeError:
        message = ""
    problem = problems.engine_refused(model, status, message)
    return render_entry_error(problem)


class _RefusedError(msgspec.Struct):
    message: str


class _Refused(msgspec.Struct):
    error: _RefusedError


class GeneratedStream:
    """Turns the events of one engine answer into those of /generate.

    `feed` takes bytes as they are read, in pieces of any size, and returns what can be sent on. The engine's errors are
    passed on as they are; whether the engine died is the relay's to see, which looks at the same bytes first.
    """

    __slots__ = ("_finish_reason", "_model", "_tail", "done", "usage")

    def __init__(self, model: str) -> None:
        self._model = model
        self._tail = b""
        self._finish_reason: str | None = None
        self.usage = _Usage()
        """Tokens as the engine stated them; zeros until its last event."""
        self.done = False
        """Whether the engine said that it was finished."""

    def feed(self, data: bytes) -> bytes:
        """ValueError when an event is not a completion, or has no end."""
        events = (self._tail + data).replace(b"\r\n", b"\n").split(b"\n\n")
        self._tail = events.pop()
        if len(self._tail) > LONGEST_EVENT_BYTES:
            raise ValueError(f"an event of the engine exceeds {LONGEST_EVENT_BYTES} bytes")
        return b"".join([self._translate(event) for event in events])

    def _translate(self, event: bytes) -> bytes:
        if not event.startswith(b"data:"):
            return event + b"\n\n" if event.startswith(b":") else b""
        payload = event[5:].strip()
        if payload == b"[DONE]":
            self.done = True
            return self._last_event()
        if payload.startswith(b'{"error"'):
            return b"data: " + payload + b"\n\n"
        part = _completion_decoder.decode(payload)
        if part.usage is not None:
            self.usage = part.usage
        text = ""
        if part.choices:
            text = part.choices[0].text
            self._finish_reason = part.choices[0].finish_reason or self._finish_reason
        return b'data: {"text":' + msgspec.json.encode(text) + b"}\n\n" if text else b""

    def _last_event(self) -> bytes:
        last = {
            "text": "",
            "num_tokens": self.usage.completion_tokens,
            "finish_reason": self._finish_reason,
            "prompt_tokens": self.usage.prompt_tokens,
            "model": self._model,
        }
        return b"data: " + msgspec.json.encode(last) + b"\n\ndata: [DONE]\n\n"
