"""Requests to /generate and /batch-generate, as the client sends them: checked, with their defaults.

A request is a JSON object with a prompt and parameters. A batch is a list of such requests, each with its own
parameters; a bad entry fails alone. Large ones are read in slices. Does not know what becomes of a request.
"""

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from remuda.gateway.api import problems
from remuda.gateway.api.body.edit import SMALL_BYTES
from remuda.gateway.api.body.slices import Pause, read_in_slices
from remuda.gateway.api.body.watch import Watch
from remuda.gateway.api.near import KnownNames
from remuda.gateway.api.problems import Problem, Refused
from remuda.gateway.api.rules import NO_RULES, FieldRules, read_value, refuse_denied_fields

MOST_BATCH_ENTRIES = 256
"""Most entries of one batch. They all share one connection, so a larger number belongs into several batches."""


class Generate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request, with its defaults. The bounds are those of the engine; it also decides whether the prompt fits."""

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
"""What each field takes, in words, for error messages and for the reference page."""

BODY_BYTES = 1024 * 1024
"""Largest request to /generate, and largest entry of a batch. Its prompt is decoded at once, which takes a millisecond.
A million letters are some 250,000 tokens; longer prompts go to /v1/completions, where the body is not decoded."""

BATCH_BYTES = 8 * BODY_BYTES
"""Largest batch: 256 prompts of 32 KiB. All of them wait in memory, decoded."""

_KNOWN_FIELDS = KnownNames(RULES)
_NOT_A_LIST = problems.invalid_value("requests", 'must be a list of requests, alone or as {"requests": […]}')
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_SHOWN = slice(0, 4 * problems.LONGEST_QUOTE)

_generate_decoder = msgspec.json.Decoder(Generate)
_text_decoder = msgspec.json.Decoder(Annotated[str, Meta(min_length=1)])
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_entries_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_GENERATE_WATCH = Watch(RULES)
_VALUE_BYTES = SMALL_BYTES // len(RULES)
"""Longest value of any field but the prompt in a large request."""


def parse_generate(body: bytes, rules: FieldRules = NO_RULES) -> Generate | Problem:
    """A request of at most SMALL_BYTES, or what is wrong with it."""
    try:
        try:
            request = _generate_decoder.decode(body)
        except msgspec.ValidationError as error:
            return _explain(error, body)
        if not rules.deny.isdisjoint(RULES):
            fields = {name: read_value(bytes(raw)) for name, raw in _fields_decoder.decode(body).items()}
            refuse_denied_fields(fields, "generate", rules)
    except _UNREADABLE as error:
        return _not_json(error)
    except Refused as refused:
        return refused.problem
    return request


async def read_generate(body: bytes, rules: FieldRules, pause: Pause) -> Generate | Problem:
    """A request of any size, or what is wrong with it; `pause` is awaited between slices of a large one.

    Everything but the prompt must be small: it is put together and parsed as a small request.
    """
    if len(body) <= SMALL_BYTES:
        return parse_generate(body, rules)
    try:
        return await _read_large(body, rules, pause)
    except Refused as refused:
        return refused.problem


async def _read_large(body: bytes, rules: FieldRules, pause: Pause) -> Generate | Problem:
    if len(body) > BODY_BYTES:
        raise Refused(problems.body_too_large(BODY_BYTES))
    scan = await read_in_slices(body, _GENERATE_WATCH, pause)
    if scan.other is not None:
        start, end = scan.other
        raise Refused(_explain_unknown(body[start + 1 : end - 1].decode("utf-8", "replace")))
    values = {name: body[start:end] for name, (start, end) in scan.spans.items()}
    prompt = values.pop("prompt", None)
    if prompt is None:
        raise Refused(problems.invalid_value("prompt", "is missing"))
    for name, value in values.items():
        if len(value) > _VALUE_BYTES:
            raise Refused(problems.invalid_value(name, f"is longer than {_VALUE_BYTES} bytes"))
    rest = b"".join([b',"%b":%b' % (name.encode(), value) for name, value in values.items()])
    request = parse_generate(b'{"prompt":"x"%b}' % rest, rules)
    if isinstance(request, Problem):
        return request
    return msgspec.structs.replace(request, prompt=_decode_prompt(prompt))


def _decode_prompt(prompt: bytes) -> str:
    try:
        text: str = _text_decoder.decode(prompt)
    except msgspec.ValidationError:
        raise Refused(_explain_value("prompt", prompt)) from None
    except _UNREADABLE as error:
        raise Refused(_not_json(error)) from None
    return text


def _not_json(error: Exception) -> Problem:
    if isinstance(error, UnicodeDecodeError):
        return problems.invalid_json("it is not UTF-8")
    return problems.invalid_json("it is nested too deeply" if isinstance(error, RecursionError) else str(error))


async def read_batch(
    body: bytes, rules: FieldRules, pause: Pause, most_entries: int = MOST_BATCH_ENTRIES
) -> list[Generate | Problem] | Problem:
    """The entries of a batch in order, each a request or what is wrong with it; or what is wrong with the whole."""
    if len(body) > BATCH_BYTES:
        return problems.body_too_large(BATCH_BYTES)
    small = len(body) <= SMALL_BYTES
    entries = _split_small(body) if small else await _split_slowly(body, pause, most_entries)
    if isinstance(entries, Problem):
        return entries
    if len(entries) > most_entries:
        count = str(len(entries)) if small else f"more than {most_entries}"
        return problems.invalid_value("requests", f"{count} entries; a batch takes at most {most_entries}")
    parsed = []
    for entry in entries:
        parsed.append(_refuse_stream(await read_generate(entry, rules, pause)))
        if not small:
            await pause()
    return parsed


def _split_small(body: bytes) -> list[bytes] | Problem:
    """The JSON texts of the entries of a small batch."""
    try:
        return [bytes(entry) for entry in _entries_decoder.decode(_unwrap(body))]
    except msgspec.ValidationError:
        return _NOT_A_LIST
    except _UNREADABLE as error:
        return _not_json(error)


def _unwrap(body: bytes) -> bytes | msgspec.Raw:
    """The list in `{"requests": [...]}`, or the body when it is the list itself."""
    if body.lstrip(b" \t\r\n")[:1] != b"{":
        return body
    fields = _fields_decoder.decode(body)
    if fields.keys() != {"requests"}:
        raise msgspec.ValidationError
    return fields["requests"]


async def _split_slowly(body: bytes, pause: Pause, most_entries: int) -> list[bytes] | Problem:
    """The JSON texts of the entries of a large batch; of one that is too long, no more than are needed to see it."""
    is_list = body[:SMALL_BYTES].lstrip(b" \t\r\n")[:1] == b"["
    watch = Watch(("requests",))
    watch.record_elements("" if is_list else "requests", most_entries)
    try:
        scan = await read_in_slices(body, watch, pause)
    except Refused as refused:
        return refused.problem
    if not is_list:
        start, _ = scan.spans.get("requests", (0, 0))
        if scan.other is not None or body[start] != 0x5B:
            return _NOT_A_LIST
    return [body[start:end] for start, end in scan.elements]


def _refuse_stream(request: Generate | Problem) -> Generate | Problem:
    if isinstance(request, Generate) and request.stream:
        return problems.invalid_value("stream", "an entry of a batch cannot be streamed")
    return request


def _explain(error: msgspec.ValidationError, body: bytes) -> Problem:
    """Which field, which value, and what it takes."""
    said = str(error)
    unknown = _UNKNOWN.match(said)
    if unknown is not None:
        return _explain_unknown(unknown[1])
    if "missing required field" in said:
        return problems.invalid_value("prompt", "is missing")
    name = said.partition(" - at `$.")[2].partition("`")[0].partition("[")[0]
    if not name:
        return problems.ASK_FOR_OBJECT
    return _explain_value(name, bytes(_fields_decoder.decode(body).get(name, b"null")))


def _explain_unknown(name: str) -> Problem:
    near = _KNOWN_FIELDS.find_near(name, 1)
    hint = f"did you mean {near[0]}?" if near else "it takes " + ", ".join(RULES)
    return problems.invalid_value(problems.cut(name), f"no such field; {hint}")


def _explain_value(name: str, raw: bytes) -> Problem:
    shown = problems.cut(raw[_SHOWN].decode("utf-8", "replace").strip())
    return problems.invalid_value(name, f"must be {RULES.get(name, 'something else')}, not {shown}")
