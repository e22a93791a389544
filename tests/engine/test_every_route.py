"""Every route a gateway forwards, asked of real vLLM through a real gateway, with a tap between the two.

The tap shows what the engine was sent and what it answered, byte by byte; the client sees the rest.
"""

import json
from collections.abc import Iterator

import pytest
from tests.engine.route_requests import ALIASES, ODD, REQUESTS, RouteRequest
from tests.engine.tap import Message

pytestmark = pytest.mark.asyncio(loop_scope="session")

PRIVATE = {
    "authorization": "Bearer secret-1",
    "proxy-authorization": "Basic secret-2",
    "x-api-key": "secret-3",
    "api-key": "secret-4",
    "cookie": "session=secret-5",
    "x-forwarded-for": "secret-6",
    "x-forwarded-host": "secret-7",
    "x-forwarded-proto": "secret-8",
    "forwarded": "for=secret-9",
    "x-real-ip": "secret-10",
    "te": "trailers, secret-11",
    "trailer": "secret-12",
    "keep-alive": "timeout=secret-13",
    "proxy-connection": "secret-14",
    "x-data-parallel-rank": "secret-15",
    "accept-encoding": "secret-16",
    "http2-settings": "secret-17",
    "x-remuda-capability": "secret-18",
}
"""Headers that say who the client is, that belong to its own connection, or that steer the engine from inside."""
PUBLIC = {"accept": "application/json", "user-agent": "test/1", "x-kept": "yes"}
TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def of_id(request: RouteRequest) -> str:
    return request.id


def find_values(value: object, path: tuple[str, ...]) -> Iterator[object]:
    """What stands at this place of a JSON value, through every list on the way."""
    if isinstance(value, list):
        for item in value:
            yield from find_values(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from find_values(value[path[0]], path[1:])


def assert_answered(request: RouteRequest, answer: Message) -> None:
    """The answer is what was asked for."""
    assert answer.status == 200, answer.body
    if request.last_event:
        assert answer.header("content-type").startswith("text/event-stream")
        assert len(answer.events) > 2
        assert answer.events[-1].startswith(request.last_event)
    else:
        values = list(find_values(json.loads(answer.body), request.answer))
        assert values
        assert all(value not in ("", None, []) for value in values)


@pytest.mark.req("A1.bytes", "A1.forwarding", "A1.pooling", "A1.audio", level="run", on="vLLM")
@pytest.mark.parametrize("request_", REQUESTS, ids=of_id)
async def test_the_bytes_of_request_and_answer_pass_unchanged(front, request_):
    body = request_.body(request_.model)
    answer, seen = await front.ask_through(request_.model, request_.path, body, content_type=request_.content_type)
    assert seen.request.start == f"POST {request_.path} HTTP/1.1"
    assert seen.request.body == body
    assert seen.request.header("content-type") == request_.content_type
    assert (answer.status, answer.body) == (seen.answer.status, seen.answer.body)
    assert_answered(request_, answer)


@pytest.mark.req("A1.bytes", "A1.audio", "G1.by-name", level="run", on="vLLM")
@pytest.mark.parametrize("request_", REQUESTS, ids=of_id)
async def test_a_request_by_an_alias_differs_in_nothing_but_the_models_name(front, request_):
    body = request_.body(ALIASES[request_.model])
    answer, seen = await front.ask_through(request_.model, request_.path, body, content_type=request_.content_type)
    assert seen.request.body == request_.body(request_.model)
    assert answer.body == seen.answer.body
    assert_answered(request_, answer)


def pick(path: str, *, stream: bool = False) -> RouteRequest:
    """The request of the table to this route."""
    return next(request for request in REQUESTS if request.path == path and bool(request.last_event) == stream)


@pytest.mark.req("A1.bytes", level="run", on="vLLM")
@pytest.mark.parametrize(
    "request_", [pick("/v1/chat/completions"), pick("/v1/audio/transcriptions")], ids=["JSON", "form"]
)
async def test_a_body_that_comes_in_chunks_reaches_the_engine_whole(front, request_):
    body = request_.body(request_.model)
    answer, seen = await front.ask_through(
        request_.model, request_.path, body, content_type=request_.content_type, chunk_bytes=37
    )
    assert seen.request.body == body
    assert seen.request.header("content-length") == str(len(body))
    assert_answered(request_, answer)


async def test_a_large_body_by_an_alias_differs_in_nothing_but_the_models_name(front):
    prompt = json.dumps("It rains on the stable of the café. 😀\n" * 8000)
    body = '{"prompt": %s, "add_special_tokens": false, "model":"%s"}'
    answer, seen = await front.ask_through("small", "/tokenize", (body % (prompt, "little")).encode())
    assert seen.request.body == (body % (prompt, "small")).encode()
    assert answer.body == seen.answer.body
    assert json.loads(answer.body)["count"] > 8000


REFUSED = {
    "a value out of range": ("small", "/v1/chat/completions", {"messages": [], "temperature": -1}),
    "a prompt that is too long": ("small", "/v1/completions", {"prompt": "word " * 4000, "max_tokens": 1}),
    "a field that is missing": ("judge", "/rerank", {"query": "Where?"}),
    "a text that is too long": ("embed", "/v1/embeddings", {"input": "word " * 400}),
}


@pytest.mark.req("A1.bytes", level="run", on="vLLM")
@pytest.mark.parametrize(("model", "path", "fields"), REFUSED.values(), ids=REFUSED)
async def test_the_engines_own_refusal_reaches_the_client_byte_for_byte(front, model, path, fields):
    answer, seen = await front.ask_through(model, path, json.dumps({"model": model, **fields}).encode())
    assert (answer.status, answer.body) == (400, seen.answer.body)
    assert json.loads(answer.body)["error"]["message"]
    assert answer.header("x-remuda-hop") == "engine"


def as_without_usage(events: list[bytes], usage: bytes) -> list[bytes]:
    """The events that vLLM sends when nobody asks for the usage: it writes its fingerprint into the last event."""
    at = events.index(usage)
    before = events[at - 1]
    fingerprint = json.loads(usage.removeprefix(b"data: ")).get("system_fingerprint")
    if fingerprint is not None:
        whole = before.rstrip()
        before = whole[:-1] + b',"system_fingerprint":"%b"}' % fingerprint.encode() + before[len(whole) :]
    return [*events[: at - 1], before, *events[at + 1 :]]


@pytest.mark.req("A1.bytes", level="run", on="vLLM")
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_usage_that_only_the_gateway_asks_for_is_all_that_changes_and_is_cut_out_again(front, path):
    fields = {name: value for name, value in pick(path).fields.items() if name != "stream_options"}
    body = json.dumps({"model": "small", **fields, "stream": True}, separators=ODD).encode()
    answer, seen = await front.ask_through("small", path, body)
    assert seen.request.body.replace(b'"stream_options":{"include_usage":true},', b"", 1) == body
    assert len(seen.request.body) > len(body)
    usages = [event for event in seen.answer.events if b'"choices":[]' in event]
    assert [json.loads(event.removeprefix(b"data: "))["usage"]["completion_tokens"] for event in usages] == [12]
    assert answer.events == as_without_usage(seen.answer.events, usages[0])


HEADER_CASES = [
    pick(path, stream=streamed)
    for path, streamed in (
        ("/v1/chat/completions", False),
        ("/v1/chat/completions", True),
        ("/v1/messages", True),
        ("/v1/embeddings", False),
        ("/v1/audio/transcriptions", False),
    )
]


@pytest.mark.req("G3.private-headers", level="run", on="vLLM")
@pytest.mark.parametrize("request_", HEADER_CASES, ids=of_id)
async def test_no_header_passes_that_must_not(front, request_):
    headers = {**PRIVATE, **PUBLIC, "traceparent": TRACE, "connection": "close, x-hop", "x-hop": "secret-19"}
    body = request_.body(request_.model)
    answer, seen = await front.ask_through(
        request_.model, request_.path, body, content_type=request_.content_type, headers=headers
    )
    assert b"secret-" not in seen.request.head
    ours = ["content-length", "content-type", "host", "traceparent", "x-request-id"]
    assert seen.request.names == sorted([*ours, *PUBLIC])
    assert {name: seen.request.header(name) for name in PUBLIC} == PUBLIC
    assert seen.request.header("host") == f"127.0.0.1:{front.taps[request_.model].port}"
    trace = seen.request.header("traceparent")
    assert (trace[:36], trace[52:]) == (TRACE[:36], TRACE[52:])
    assert trace != TRACE
    passed = [name for name in seen.answer.names if name not in ("server", "connection")]
    assert answer.names == sorted([*passed, "connection", "x-remuda-engine", "x-request-id"])
    assert answer.header("x-remuda-engine") == f"{request_.model}-0"


async def test_the_list_of_models_is_the_gateways_own_and_names_what_the_engines_serve(front, adapters):
    answer = await front.send(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    names = [entry["id"] for entry in json.loads(answer.body)["data"]]
    assert sorted(names) == sorted([*ALIASES, *ALIASES.values(), *adapters])
    asked = [request.start for tap in front.taps.values() for request in tap.requests()]
    assert "GET /v1/models HTTP/1.1" not in asked
