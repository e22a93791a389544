"""One client sends large bodies while others stream: the streams go on, whatever the bodies are made of."""

import asyncio
import gc
import tracemalloc

import pytest
from tests.gateway.conftest import route_to
from tests.gateway.double_engine import Reply
from tests.gateway.wire import complete, post, until

from remuda.gateway.table import Table

MEGABYTE = 1 << 20


def head_of(path: str, size: int, content_type: str = "application/json") -> bytes:
    start = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {size}\r\n\r\n"
    return start.encode()


class Stream:
    """A stream on which client and engine take turns: each chunk is sent when the one before it has been read."""

    def __init__(self) -> None:
        self.rounds = 0
        self._next = asyncio.Event()
        self._stopped = False

    async def script(self, reply: Reply) -> None:
        await reply.begin_stream()
        while not self._stopped:
            await reply.event("x")
            await self._next.wait()
            self._next.clear()
        await reply.end_stream()

    async def read(self, wire) -> None:
        await wire.send(complete(stream=True))
        head = await wire.read_head()
        assert head.startswith(b"HTTP/1.1 200 ")
        while (await wire.read_chunk())[0]:
            self.rounds += 1
            self._next.set()

    def stop(self) -> None:
        self._stopped = True
        self._next.set()


def fill(size: int, start: bytes, unit: bytes, end: bytes) -> bytes:
    """A body of about this size."""
    return start + unit * ((size - len(start) - len(end)) // len(unit)) + end


def says(status: int, words: str):
    def check(response) -> bool:
        return (response.status, response.error["message"]) == (status, words)

    return check


READ = says(404, "The model 'y' does not exist. Served here: m.")
"""The body was read to its end, and no engine is asked."""
TOO_COMPLEX = says(413, "The request body has more than 500000 lists, objects and names in it.")
BODIES = {
    "one text": (b'{"model":"y","prompt":"', b"x", b'"}', READ),
    "one text of escapes": (b'{"model":"y","prompt":"', b"\\n", b'"}', READ),
    "one text of backslashes": (b'{"model":"y","prompt":"', b"\\\\", b'"}', READ),
    "one text that is not ASCII": (b'{"model":"y","prompt":"', "é😀".encode(), b'"}', READ),
    "tokens": (b'{"model":"y","prompt":[', b"12345,", b"1]}", READ),
    "empty texts": (b'{"model":"y","x":[', b'"",', b'""]}', READ),
    "empty objects": (b'{"model":"y","x":[', b"{},", b"{}]}", READ),
    "keys": (b'{"model":"y","x":{', b'"a":1,', b'"a":1}}', READ),
    "numbers that are none": (b'{"model":"y","x":[', b"NaN,-Infinity,", b"1]}", READ),
    "spaces": (b'{"model":"y","x":[', b" \n", b"1]}", READ),
    "lists in lists": (b'{"model":"y","x":[', b"[[]],", b"1]}", TOO_COMPLEX),
    "keys in disguise": (b'{"model":"y","x":{', b'"\\u0061":1,', b'"b":1}}', TOO_COMPLEX),
    "media parts": (b'{"model":"y","x":[', b'{"image_url":"data:"},', b"1]}", TOO_COMPLEX),
    "fields": (b"{", b'"model":"y",', b'"x":1}', says(413, "The request body has more than 1000 fields.")),
    "open lists": (
        b'{"model":"y","x":',
        b"[",
        b"",
        says(400, "The request body is not valid: it is nested too deeply"),
    ),
    "objects without end": (b"", b"{}", b"", says(400, "The request body is not valid: something follows the object")),
    "a surrogate at the end": (
        b'{"model":"y","x":"',
        b"x",
        b'\xed\xa0\x80"}',
        says(400, "The request body is not valid: it is not UTF-8"),
    ),
    "UTF-16": (b'{\x00"\x00', b"x\x00", b"", says(400, "The request body is not valid: it is not UTF-8")),
    "a byte order mark": (b"\xef\xbb\xbf{", b'"a":1,', b'"b":1}', says(400, "The request body must be a JSON object.")),
}
QUICK = {"fields", "open lists", "objects without end", "UTF-16", "a byte order mark"}
"""These are refused in the first slices."""


async def upload_while_streaming(site, request: bytes) -> tuple[object, int]:
    """The answer to a large request, and how many rounds a stream made between its last byte and the answer."""
    stream = Stream()
    site.engine.scripts.append(stream.script)
    reading = asyncio.create_task(stream.read(await site.open()))
    await until(lambda: stream.rounds)
    wire = await site.open()
    await wire.send(request[:-1])
    await until(lambda: site.gateway.clients.bodies.held_bytes > len(request) - 10_000)
    before = stream.rounds
    response = await wire.ask(request[-1:])
    rounds = stream.rounds - before
    stream.stop()
    await reading
    return response, rounds


@pytest.mark.parametrize(("start", "unit", "end", "check"), BODIES.values(), ids=BODIES)
async def test_streams_go_on_while_a_large_body_is_read(site, request, start, unit, end, check):
    """Counted in rounds of a stream, not in time: without pauses there is none between last byte and answer."""
    body = fill(24 * MEGABYTE, start, unit, end)
    response, rounds = await upload_while_streaming(site, head_of("/v1/completions", len(body)) + body)
    assert check(response), response.body[:500]
    least = 0 if request.node.callspec.id in QUICK else 10
    assert rounds >= least
    site.assert_nothing_leased()


async def test_streams_go_on_while_a_large_form_is_read(site):
    site.gateway.apply(Table(models=(route_to(site.engines, capabilities=("completion", "transcription")),)))
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    model = b'\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ny\r\n--b--\r\n'
    body = fill(24 * MEGABYTE, file, b"\r\n--", model)
    request = head_of("/v1/audio/transcriptions", len(body), "multipart/form-data; boundary=b") + body
    response, rounds = await upload_while_streaming(site, request)
    assert READ(response), response.body[:500]
    assert rounds >= 10


async def test_streams_go_on_while_a_large_batch_is_read(site):
    body = fill(7 * MEGABYTE, b'[{"prompt":"', b"x\\n", b'"}]')
    response, rounds = await upload_while_streaming(site, head_of("/batch-generate", len(body)) + body)
    assert response.json["results"][0]["error"]["message"] == "The request body exceeds 1048576 bytes."
    assert rounds >= 10


async def test_a_fast_upload_is_read_a_piece_in_a_turn_of_the_event_loop(site):
    """Counted in turns: without a pause, everything that the kernel holds is read in one."""
    wire = await site.open()
    await wire.send(head_of("/v1/completions", 8 * MEGABYTE))
    await until(lambda: site.gateway.admission.in_flight == 1)
    wire.writer.write(b"x" * 4 * MEGABYTE)
    turns = 0
    bodies = site.gateway.clients.bodies
    while bodies.held_bytes < 2 * MEGABYTE:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 6


@pytest.mark.parametrize("padding", [b"", b"x" * 70_000, b"x" * 3_000_000], ids=["small", "large", "very large"])
async def test_an_alias_in_a_body_of_any_size_is_renamed_and_nothing_else_changes(site, padding):
    site.gateway.apply(Table(models=(route_to(site.engines, aliases=("gpt-4",)),)))
    body = b'{"x":{"model":"gpt-4"},"prompt":"%b", "model" : "gpt-4" ,"n":1}' % padding
    assert (await site.ask(post("/v1/completions", body))).status == 200
    assert site.engine.requests[0].body == body.replace(b' "gpt-4"', b' "m"')


@pytest.mark.parametrize("unit", [b'{"a":"b"},', b"1,", b'"\\u00e9",'], ids=["objects", "numbers", "texts"])
async def test_reading_a_large_body_takes_no_memory_worth_mentioning(site, unit):
    """As a tree of Python objects, these bodies take 4 to 30 times their size."""
    body = fill(12 * MEGABYTE, b'{"model":"y","x":[', unit, b"1]}")
    wire = await site.open()
    assert (await wire.ask(post("/v1/completions", {"model": "y"}))).status == 404
    await wire.send(head_of("/v1/completions", len(body)) + body[:-1])
    await until(lambda: site.gateway.clients.bodies.held_bytes > len(body) - 10_000)
    gc.collect()
    tracemalloc.start()
    try:
        response = await wire.ask(body[-1:])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert READ(response), response.body[:500]
    assert peak < len(body) + 2 * MEGABYTE  # the body itself moves once, when it is complete
