"""Translates requests to /generate into requests to /v1/completions of an engine, and the answers back.

    {"prompt": "Hello"}  →  {"generated_text": " there.", "num_tokens": 3, "finish_reason": "stop", …}

With `"stream": true` the answer is a stream of server-sent events: `data: {"text": " there"}` for each piece of text,
then one event with `num_tokens` and `finish_reason`, then `data: [DONE]`. The results of a batch stand in the order of
its requests, and one that failed has `{"error": …}` in its place. Does not know which model or engine serves a request,
and does not know HTTP.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from remuda.gateway.api import problems
from remuda.gateway.api.generate_request import Generate
from remuda.gateway.api.problems import Problem

LONGEST_EVENT_BYTES = 1_048_576
"""Longest event of an engine. A token takes about 250 bytes, because logprobs are not requested."""


def render_completion(request: Generate, model: str) -> bytes:
    """The body of the request to /v1/completions. `model` is the name by which the engine knows the model."""
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
    """A whole answer of /v1/completions, or one event of a stream."""

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
    """The answer of /generate, from the engine's answer. `model` is the name that the client is told.

    Raises ValueError when the engine's answer is not a completion.
    """
    answer = _completion_decoder.decode(completion)  # DecodeError is a ValueError
    if not answer.choices:
        raise ValueError("the engine's answer has no choices")
    usage = answer.usage or _Usage()
    choice = answer.choices[0]
    generated = Generated(choice.text, usage.completion_tokens, choice.finish_reason, usage.prompt_tokens, model)
    return msgspec.json.encode(generated)


def render_batch(results: Sequence[bytes]) -> bytes:
    """The answer of /batch-generate. `results` are JSON texts in the order of the requests."""
    return b'{"results":[' + b",".join(results) + b"]}"


def render_entry_error(problem: Problem) -> bytes:
    """The result of an entry that was refused before an engine saw it."""
    return b'{"error":' + msgspec.json.encode(problem.error()) + b"}"


def render_engine_refusal(status: int, body: bytes, model: str) -> bytes:
    """The result of an entry that the engine refused with a 4xx. It quotes the message of the engine."""
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
    """Translates the events of one stream of an engine into events of /generate.

    `feed` takes bytes in pieces of any size and returns the bytes that can be sent to the client. Errors of the engine
    pass unchanged. The relay looks at the same bytes first and notices a broken engine.
    """

    __slots__ = ("_finish_reason", "_model", "_tail", "done", "usage")

    def __init__(self, model: str) -> None:
        self._model = model
        self._tail = b""
        self._finish_reason: str | None = None
        self.usage = _Usage()
        """The token counts that the engine stated; zeros until its last event."""
        self.done = False
        """Whether the engine has sent `[DONE]`."""

    def feed(self, data: bytes) -> bytes:
        """Raises ValueError when an event is not a completion, or is too long."""
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
