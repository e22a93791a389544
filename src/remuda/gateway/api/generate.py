"""/generate and /batch-generate: a prompt in, a text out. Pure translation to and from the engine's /v1/completions.

    {"prompt": "Hello"}  →  {"generated_text": " there.", "num_tokens": 3, "finish_reason": "stop", …}

With `"stream": true` the answer is server-sent events: `data: {"text": " there"}` as it comes, then one event with
`num_tokens` and `finish_reason`, then `data: [DONE]`. A batch is a list of such requests, each with its own parameters;
its results come in the same order, and a bad entry fails alone, as {"error": …} in its place.

It does not know which model or engine serves it, nor HTTP. Called by the gateway's flow.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from remuda.gateway.api import problems
from remuda.gateway.api.near import KnownNames
from remuda.gateway.api.problems import Problem

MOST_BATCH_ENTRIES = 256
"""Of one batch: they all wait in one connection. More is what files and durable batches are for."""

LONGEST_EVENT_BYTES = 1_048_576
"""Of one event of an engine; logprobs are not asked for, so a token takes about 250 bytes."""


class Generate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request, with its defaults. Bounds are the engine's own; whether the prompt fits is the engine's to say."""

    prompt: Annotated[str, Meta(min_length=1)]
    model: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    stream: bool = False
    max_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 512
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.8
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.95
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] = 50
    presence_penalty: Annotated[float, Meta(ge=-2.0, le=2.0)] = 0.0
    frequency_penalty: Annotated[float, Meta(ge=-2.0, le=2.0)] = 0.0
    stop: (
        Annotated[str, Meta(min_length=1)]
        | Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(max_length=4)]
        | None
    ) = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None


RULES: Mapping[str, str] = {
    "prompt": "a text, not empty",
    "model": "the name of a model",
    "stream": "true or false",
    "max_tokens": "a whole number, at least 1",
    "temperature": "a number from 0 to 2",
    "top_p": "a number above 0, at most 1",
    "top_k": "a whole number: at least 1, or -1 or 0 for all tokens",
    "presence_penalty": "a number from -2 to 2",
    "frequency_penalty": "a number from -2 to 2",
    "stop": "a text, or a list of at most 4 texts, none of them empty",
    "seed": "a whole number of 64 bits",
}
"""What each field takes, in words: said when a value is refused, and on the reference page."""

_KNOWN_FIELDS = KnownNames(RULES)

_generate_decoder = msgspec.json.Decoder(Generate)
_entries_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def parse_generate(body: bytes) -> Generate | Problem:
    """A request, or what is wrong with it."""
    try:
        try:
            return _generate_decoder.decode(body)
        except msgspec.ValidationError as error:
            return _explain(error, body)
    except _UNREADABLE as error:
        return _not_json(error)


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _not_json(error: Exception) -> Problem:
    if isinstance(error, UnicodeDecodeError):
        return problems.invalid_json("it is not UTF-8")
    return problems.invalid_json("it is nested too deeply" if isinstance(error, RecursionError) else str(error))


def parse_batch(body: bytes, most_entries: int = MOST_BATCH_ENTRIES) -> list[Generate | Problem] | Problem:
    """The entries of a batch in order, each a request or what is wrong with it; or what is wrong with the whole."""
    try:
        entries = _entries_decoder.decode(_unwrap(body))
    except msgspec.ValidationError:
        return problems.invalid_value("requests", 'must be a list of requests, alone or as {"requests": […]}')
    except _UNREADABLE as error:
        return _not_json(error)
    if len(entries) > most_entries:
        return problems.invalid_value("requests", f"{len(entries)} entries; a batch takes at most {most_entries}")
    return [_parse_entry(bytes(entry)) for entry in entries]


def _unwrap(body: bytes) -> bytes | msgspec.Raw:
    """The list in `{"requests": [...]}`, or the body when it is the list itself."""
    if body.lstrip(b" \t\r\n")[:1] != b"{":
        return body
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if fields.keys() != {"requests"}:
        raise msgspec.ValidationError
    return fields["requests"]


def _parse_entry(entry: bytes) -> Generate | Problem:
    request = parse_generate(entry)
    if isinstance(request, Generate) and request.stream:
        return problems.invalid_value("stream", "an entry of a batch cannot be streamed")
    return request


def _explain(error: msgspec.ValidationError, body: bytes) -> Problem:
    """Which field, which value, and what it takes."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        return problems.ASK_FOR_OBJECT
    for unknown in sorted(fields.keys() - RULES.keys()):
        near = _KNOWN_FIELDS.find_near(unknown, 1)
        hint = f"did you mean {near[0]}?" if near else "it takes " + ", ".join(RULES)
        return problems.invalid_value(problems.cut(unknown), f"no such field; {hint}")
    if "prompt" not in fields:
        return problems.invalid_value("prompt", "is missing")
    name = str(error).partition(" - at `$.")[2].partition("`")[0].partition("[")[0]
    shown = problems.cut(bytes(fields.get(name, b"null")).decode("utf-8", "replace").strip())
    return problems.invalid_value(name, f"must be {RULES.get(name, 'something else')}, not {shown}")


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
