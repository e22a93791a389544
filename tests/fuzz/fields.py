"""Target: the fields of JSON bodies. Oracles: `json.loads` and pydantic in lax mode, with which the engine reads them.

The gateway has two readers: one for small bodies, one that reads in slices. Whatever either of them accepts, it must
have read as the engine does: the model, whether the answer streams, how many sequences it takes. No body may pass that
has a value which clients may not set, however it is spelt and wherever it stands. And a body in which the gateway has
changed a field must differ in that field alone.
"""

import json
from collections.abc import Coroutine, Iterator
from random import Random
from typing import Any

from pydantic import TypeAdapter, ValidationError
from tests.fuzz import mutations
from tests.fuzz.corpus.fields import FIELDS
from tests.fuzz.running import Reading, RuleBrokenError, Target

from remuda.gateway.api import ask as asking
from remuda.gateway.api.ask import Ask
from remuda.gateway.api.body.scan import Scan
from remuda.gateway.api.problems import Refused
from remuda.gateway.api.rules import FieldRules
from remuda.gateway.http.head import RequestHead
from remuda.vllm import client_fields
from remuda.vllm.routes import ROUTES, Route

RULES = FieldRules((), ())
ROUTES_ASKED = [
    ROUTES["POST", path]
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/messages")
]
NUMBER = TypeAdapter(int | None)
FLAG = TypeAdapter(bool | None)
UNREADABLE = object()
_OFF = ("priority", "return_mm_kwargs", "store", "background")
"""Denied fields that a client may set to zero or false."""


async def no_pause() -> None:
    """Other work would run here."""


def drive(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never really waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


def read_lax(adapter: TypeAdapter[Any], value: object) -> object:
    """The value as a field of the engine's request class has it."""
    try:
        return adapter.validate_python(value)
    except (ValidationError, OverflowError):
        return UNREADABLE


def read_with_json(body: bytes) -> dict[str, object] | None:
    """The engine's own reading; None when it refuses the body."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def check_fields(data: bytes, rng: Random) -> Reading:
    """See the module."""
    route = rng.choice(ROUTES_ASKED)
    engines = read_with_json(data)
    head = RequestHead(b"POST", route.path.encode(), 1)
    shape: list[object] = [route.name]
    accepted = False
    for reader in (read_small, read_slowly):
        try:
            ours = reader(route, data, head, rng)
        except Refused as refused:
            shape.append(refused.problem.code)
            continue
        if ours is None or engines is None:
            shape.append(ours is None)
            continue
        accepted = True
        compare(ours, engines, reader.__name__)
        shape.append((ours.model is None, len(engines), ours.prompts, tuple(sorted(ours.values))[:6]))
    return Reading(accepted, tuple(shape))


def read_small(route: Route, body: bytes, head: RequestHead, rng: Random) -> Ask | None:
    """The way of most requests."""
    return asking.parse_small(route, body, head, RULES)


def read_slowly(route: Route, body: bytes, head: RequestHead, rng: Random) -> Ask:
    """The way of large bodies, with slices so small that everything is cut somewhere."""
    ask: Ask = drive(asking._parse_slowly(route, body, head, RULES, no_pause))
    cut = Scan(body, RULES.watches[route.name], chunk_bytes=rng.choice((1, 2, 3, 7, 64)))
    while not cut.advance():
        pass
    if cut.spans != ask.spans:
        raise RuleBrokenError(f"in slices the fields stand at {cut.spans}, else at {ask.spans}")
    return ask


def compare(ours: Ask, engines: dict[str, object], reader: str) -> None:
    """Raise RuleBrokenError where the gateway has read something that the engine reads otherwise."""
    try:
        model = None if ours.model is None else asking.decode_name(ours.model)
        streams: bool | None = ours.stream
    except Refused:
        return
    if (engines.get("model") or None) != model:
        raise RuleBrokenError(f"{reader}: the engine reads the model {engines.get('model')!r}, the gateway {model!r}")
    flag = read_lax(FLAG, engines.get("stream"))
    if flag is not UNREADABLE and bool(flag) is not streams:
        raise RuleBrokenError(f"{reader}: the engine reads stream as {flag}, the gateway as {streams}")
    compare_prompts(ours, engines, reader)
    for denied in (*find_denied(engines, ours.route.name), *find_denied_media(engines, ours.route.name)):
        raise RuleBrokenError(f"{reader}: {denied} passes")
    if model is None:
        compare_bound(ours, engines, reader)
    else:
        compare_change(ours, engines, reader)


def compare_prompts(ours: Ask, engines: dict[str, object], reader: str) -> None:
    if ours.route.name != "completions":
        return
    prompt = engines.get("prompt")
    several = isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list)
    count = len(prompt) if several and isinstance(prompt, list) else 1
    if ours.prompts != count:
        raise RuleBrokenError(f"{reader}: the engine reads {count} prompts, the gateway {ours.prompts}")


def compare_bound(ours: Ask, engines: dict[str, object], reader: str) -> None:
    """Without a model the bound on tokens decides which model answers."""
    for field in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        number = read_lax(NUMBER, engines.get(field))
        if number is UNREADABLE:
            return
        if isinstance(number, int):
            if ours.max_tokens != int(float(number)):  # the gateway reads every number as a float
                raise RuleBrokenError(f"{reader}: the engine reads {field} as {number}, the gateway {ours.max_tokens}")
            return


def compare_change(ours: Ask, engines: dict[str, object], reader: str) -> None:
    """A changed body is the same but for what was changed."""
    edits = {"model": ours.encode_name("renamed"), "stream_options": b'{"include_usage":true}'}
    try:
        pieces = ours.change(edits)
    except Refused:
        return  # a body in which a field is too hard to find is refused late, and is not sent
    changed = read_with_json(b"".join(bytes(piece) for piece in pieces))
    wanted = {**engines, "model": "renamed", "stream_options": {"include_usage": True}}
    if changed is None or not _same(changed, wanted):
        raise RuleBrokenError(f"{reader}: changed to {changed}, and not to {wanted}")


def _same(one: object, other: object) -> bool:
    """Equal, where NaN equals itself."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def find_denied(engines: dict[str, object], route_name: str) -> Iterator[str]:
    """Values of top-level fields that the engine would use and a client may not set."""
    for field, most in client_fields.BOUNDED_FIELDS.items():
        number = read_lax(NUMBER, engines.get(field))
        if isinstance(number, int) and not 0 <= number <= most:
            yield f"{field}={number}"
    for field, rule in client_fields.DENIED_FIELDS.items():
        value = engines.get(field)
        if value is None or (rule.routes is not None and route_name not in rule.routes):
            continue
        if field in _OFF:
            number, flag = read_lax(NUMBER, value), read_lax(FLAG, value)
            if (number is UNREADABLE or not number) and (flag is UNREADABLE or not flag):
                continue
        elif field == "watermarking" and read_lax(FLAG, value) in {True, UNREADABLE}:
            continue
        yield f"{field}={value!r}"


def find_denied_media(engines: dict[str, object], route_name: str) -> Iterator[str]:
    """Parts of messages that a client may not send, at any depth."""
    for found in _walk(engines.get("messages") or engines.get("input")):
        for key in client_fields.ADDRESS_KEYS:
            address = found.get(key)
            if isinstance(address, dict):
                address = address.get("url")
            if isinstance(address, str) and address and not address.lower().startswith("data:"):
                yield f"{key}={address!r}"
        for key in client_fields.EMBEDS:
            if found.get(key) is not None or found.get("type") == key:
                yield f"a part with {key}"
        if found.get("uuid") is not None and client_fields.MEDIA_KEYS & found.keys():
            yield "a part with a uuid"


def _walk(value: object) -> Iterator[dict[str, object]]:
    """All objects in a value."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


TOKENS = (
    b'"model":"other",', b'"mod\\u0065l":"other",', b'"model" :null,', b'"MODEL":"other",', b'"n":17,', b'"n":1e1,',
    b'"n":"1_7",', b'"n":16.0,', b'"n":1e400,', b'"n":-1,', b'"n":true,', b'"n":null,', b'"best_of":"0x11",',
    b'"logprobs":21.0,', b'"stream":"on",', b'"stream":1,', b'"stream":null,', b'"stream":{},', b'"priority":1,',
    b'"priority":"1",', b'"priority":0.0,', b'"cache_salt":"",', b'"cache_salt":"x",', b'"store":"true",',
    b'"watermarking":false,', b'"prompt":["a"],', b'"prompt":[],', b'"prompt":[[1]],', b'"prompt":[1,"a"],',
    b'"prompt":"x",', b'"max_tokens":"1_0",', b'"max_tokens":5.0,', b'"uuid":"1",', b'"image_url":"http://x/",',
    b'"image_url":{"url":"HTTP://x/"},', b'"image_url":{"url":"data:x","url":"http://x/"},',
    b'"type":"image_embeds",', b'"image_embeds":"x",', b'"image_url":null,', b'"x":"\\"model\\":\\"other\\"",',
    b'"x":"\\\\",', b'"x":"\\\\\\"",', b'"\\\\":1,', b'"":1,', b'"x":[{"model":"other"}],', b"{", b"}", b"[", b"]",
    b'"', b"\\", b"\\u", b"\\u0022", b"\\u005c", b",", b":", b"null", b"true", b"NaN", b"-", b"1e", b"\xff",
    b"\xef\xbb\xbf", b"\0", b"/**/", b" ", b"\x0b", "\u00a0".encode(), "\u2028".encode(), b"\\ud83d\\ude00",
    b"\\ud800",
)  # fmt: skip


def insert_member(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """A member in front of an object's first one, or behind a comma."""
    places = [at + 1 for at, byte in enumerate(data) if byte in b"{,"]
    if not places:
        return data
    at = rng.choice(places)
    return data[:at] + rng.choice(TOKENS[:52]) + data[at:]


def escape_letter(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """A character spelt as an escape."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + b"".join(b"\\u%04x" % byte for byte in data[at : at + 1]) + data[at + 1 :]


TARGET = Target(
    "fields",
    FIELDS,
    mutations.one_of(
        (
            *mutations.ANYTHING,
            mutations.insert_one_of(TOKENS),
            insert_member,
            insert_member,
            insert_member,
            escape_letter,
            escape_letter,
        )
    ),
    check_fields,
)
