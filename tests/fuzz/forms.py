"""Target: multipart forms. Oracle: Starlette's parser, with which the engine reads them.

The input is a Content-Type, the end of its line and the form. Whatever form the gateway accepts, Starlette, if it
accepts it, reads the same value of every field that the gateway reads, once. No form may pass that has a value which
clients may not set. A form in which the gateway has changed the model differs in that alone.
"""

import logging
import re
import warnings
from random import Random
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from tests.fuzz import mutations
from tests.fuzz.corpus.forms import FORMS
from tests.fuzz.fields import RULES, drive, find_denied, no_pause
from tests.fuzz.running import Reading, RuleBrokenError, Target, cut

from remuda.gateway.api import ask as asking
from remuda.gateway.api.ask import Ask
from remuda.gateway.api.body.forms import FormReader
from remuda.gateway.api.problems import Refused
from remuda.gateway.http.head import RequestHead
from remuda.vllm.routes import ROUTES

ROUTE = ROUTES["POST", "/v1/audio/transcriptions"]
FILE = "(a file)"

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it warns of every form that it refuses

Items = list[tuple[str, str]]


def read_with_starlette(content_type: bytes, body: bytes, rng: Random) -> Items | None:
    """All fields in their order; None when the engine cannot read the form."""
    pieces = [*cut(body, rng), b""]

    async def receive() -> dict[str, Any]:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def parse() -> Items:
        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", content_type)]}
        form = await Request(scope, receive).form()
        items = [(name, FILE if isinstance(value, UploadFile) else value) for name, value in form.multi_items()]
        await form.close()
        return items

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Starlette leaves files open when it fails
        try:
            found: Items = drive(parse())
        except Exception:  # noqa: BLE001 - reason: however the engine's parser fails, it does not read the form
            return None
    return found


def check_forms(data: bytes, rng: Random) -> Reading:
    """See the module."""
    content_type, _, body = data.partition(b"\r\n")
    content_type = content_type.strip(b" \t")
    head = RequestHead(b"POST", ROUTE.path.encode(), 1)
    head.content_type = content_type
    engines = read_with_starlette(content_type, body, rng)
    try:
        ours: Ask = drive(asking.parse_ask(ROUTE, body, head, RULES, no_pause))
    except Refused as refused:
        return Reading(False, (refused.problem.code, refused.problem.message[:60], engines is None))
    if engines is not None:
        _compare(ours, engines)
        _compare_in_slices(ours, content_type, rng)
        _compare_changed(ours, engines, content_type, rng)
    shape = (engines is None, engines is None or len(engines), tuple(sorted(ours.values)))
    return Reading(engines is not None, shape)


def _texts(ours: Ask) -> dict[str, str]:
    assert ours.spans is not None
    return {name: ours.body[start:end].decode() for name, (start, end) in ours.spans.items()}


def _compare(ours: Ask, engines: Items) -> None:
    texts = _texts(ours)
    for name in RULES.form_fields:
        values = [value for other, value in engines if other == name]
        if values != ([texts[name]] if name in texts else []):
            raise RuleBrokenError(f"the engine reads {name} as {values}, the gateway as {texts.get(name)!r}")
    for denied in find_denied(dict(engines), ROUTE.name):
        raise RuleBrokenError(f"{denied} passes")


def _compare_in_slices(ours: Ask, content_type: bytes, rng: Random) -> None:
    reader = FormReader(ours.body, content_type, RULES.form_fields, slice_bytes=rng.choice((1, 2, 7, 64)))
    while not reader.advance():
        pass
    if reader.form.spans != ours.spans:
        raise RuleBrokenError(f"in slices the fields stand at {reader.form.spans}, else at {ours.spans}")


def _compare_changed(ours: Ask, engines: Items, content_type: bytes, rng: Random) -> None:
    changed = b"".join(bytes(piece) for piece in ours.change({"model": ours.encode_name("renamed")}))
    wanted = [(name, "renamed" if name == "model" else value) for name, value in engines]
    found = read_with_starlette(content_type, changed, rng)
    if found != wanted:
        raise RuleBrokenError(f"changed to {found}, and not to {wanted}")


TOKENS = (
    b"--b\r\n", b"--b--\r\n", b"--b", b"\r\n--b\r\n", b"\n--b\r\n", b"--b \r\n", b"--bc\r\n", b"-", b"\r\n",
    b"\r\n\r\n", b'name="model"', b'; name="model"', b"; name=model", b'; name="mod\\el"', b"; name*=utf-8''model",
    b'; filename="a"', b"; filename*=utf-8''a", b'; x-filename="a"', b"; NAME=model", b';name="x"',
    b'Content-Disposition: form-data; name="model"\r\n', b'content-disposition: form-data; name="x"\r\n',
    b"Content-Disposition: attachment; name=model\r\n", b"Content-Type: text/plain; charset=utf-16\r\n",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-Length: 3\r\n",
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nlarge\r\n', b"; boundary=b", b'; boundary="b"',
    b"; boundary=c", b"; charset=utf-16", b"; xboundary=b", b'"', b"\\", b";", b"=", b"\0", b"\xff",
    "\u00e9".encode(), b"%22", b"model", b"priority", b"n",
)  # fmt: skip


def change_parts(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """A part twice, lost, in another place, or from another form; the other parts stay whole."""
    parts = data.split(b"--b\r\n")
    at = rng.randrange(len(parts))
    strange = rng.choice(rng.choice(others).split(b"--b\r\n"))
    match rng.randrange(4):
        case 0:
            parts.insert(max(1, at), parts[at] if at else strange)
        case 1:
            parts[1:] = rng.sample(parts[1:], len(parts) - 1)
        case 2:
            del parts[at]
        case _:
            parts.insert(max(1, at), strange)
    return b"--b\r\n".join(parts)


VALUES = (b"", b"small", b"0", b"1", b"16.0", b"17", b" 1_7 ", b"true", b"x\r\ny", b"--b", b"\r\n", b"\xff", b"1e400")


def change_value(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Another value of a field."""
    heads = [match.end() for match in re.finditer(rb"\r\n\r\n", data)]
    if not heads:
        return data
    start = rng.choice(heads)
    end = data.find(b"\r\n", start)
    values = (
        b"",
        b"small",
        b"0",
        b"1",
        b"16.0",
        b"17",
        b" 1_7 ",
        b"true",
        b"x\r\ny",
        b"--b",
        b"\r\n",
        b"\xff",
        b"1e400",
    )
    return data[:start] + rng.choice(values) + (data[end:] if end >= 0 else b"")


TARGET = Target(
    "forms",
    FORMS,
    mutations.one_of(
        (
            *mutations.ANYTHING,
            *mutations.LINES,
            mutations.insert_one_of(TOKENS),
            mutations.insert_one_of(TOKENS),
            *[change_parts] * 6,
            *[change_value] * 6,
        )
    ),
    check_forms,
)
