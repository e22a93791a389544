"""What the engine sends arrives unchanged; what the client sends arrives unchanged."""

import asyncio
import json
import re

import pytest
from tests.gateway.double_engine import completion, event
from tests.gateway.wire import complete, get, post, until


async def test_whole_answer_arrives_byte_for_byte(site):
    response = await site.ask(complete())
    assert response.status == 200
    assert response.body == completion()
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-remuda-engine"] == "m-0"
    assert "server" not in response.headers


async def test_request_body_reaches_the_engine_byte_for_byte(site):
    body = b'{ "prompt":"\xd0\x96 \\u00e9",\n"model" : "m","x":1.50, "stop":["a"] }'
    await site.ask(post("/v1/completions", body))
    assert site.engine.requests[0].body == body


@pytest.mark.req("A1.unbuffered", level="double")
async def test_stream_arrives_event_by_event_as_it_is_sent(site):
    steps = []

    async def step_by_step(reply):
        await reply.begin_stream()
        for word in ("one", "two"):
            await reply.event(word)
            await until(lambda word=word: word in steps)
        await reply.end_stream()

    site.engine.default = step_by_step
    wire = await site.open()
    await wire.send(complete(stream=True))
    head = await wire.read_head()
    assert b"transfer-encoding: chunked" in head
    for word in ("one", "two"):
        payload, _ = await wire.read_chunk()
        assert payload == event(word)
        steps.append(word)
    assert (await wire.read_chunk())[0] == b"data: [DONE]\n\n"
    assert (await wire.read_chunk())[0] == b""


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
async def test_stream_is_the_same_however_the_engine_cuts_it(site, size):
    sent = b"".join(event(f"w\u00f6rd {n}") for n in range(20)) + b"data: [DONE]\n\n"

    async def in_pieces(reply):
        await reply.begin_stream()
        for start in range(0, len(sent), size):
            await reply.chunk(sent[start : start + size])
        await reply.send(b"0\r\n\r\n")

    site.engine.default = in_pieces
    response = await site.ask(complete(stream=True))
    assert response.body == sent


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello", id="length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nt: 1\r\n\r\n",
            b"hello",
            id="chunked with extensions and trailers",
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok", id="1xx"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="204"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"", id="empty"),
    ],
)
async def test_every_framing_of_an_answer_is_understood(site, answer, body):
    async def script(reply):
        await reply.send(answer)

    site.engine.default = script
    wire = await site.open()
    response = await wire.ask(complete())
    assert response.body == body
    assert (await wire.ask(get("/health"))).status == 200


async def test_answer_that_ends_with_its_connection_is_complete(site):
    async def script(reply):
        await reply.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nall of ")
        await reply.send(b"it")
        await reply.close()

    site.engine.default = script
    assert (await site.ask(complete())).body == b"all of it"
    assert site.outcomes == {"completed": 1}


async def test_large_bodies_pass_both_ways(site):
    big = json.dumps({"model": "m", "prompt": "x" * 5_000_000}).encode()

    async def echo(reply):
        await reply.answer(reply.request.body)

    site.engine.default = echo
    response = await site.ask(post("/v1/completions", big))
    assert response.body == big


@pytest.mark.parametrize(
    "header",
    [
        b"x-secret-hop: 1\r\nconnection: x-secret-hop\r\n",
        b"keep-alive: 5\r\n",
        b"proxy-connection: x\r\n",
        b"te: trailers\r\n",
    ],
)
async def test_hop_by_hop_headers_do_not_reach_the_engine(site, header):
    await site.ask(complete(headers=header))
    names = set(site.engine.requests[0].headers)
    assert names.isdisjoint({"x-secret-hop", "connection", "keep-alive", "proxy-connection", "te"})


async def test_ordinary_headers_reach_the_engine_and_credentials_do_not(site):
    await site.ask(complete(headers=b"x-team: blue\r\nauthorization: Bearer rk_x\r\ncookie: a=b\r\nx-api-key: k\r\n"))
    headers = site.engine.requests[0].headers
    assert headers["x-team"] == "blue"
    assert headers["host"] == f"127.0.0.1:{site.engine.port}"
    assert not {"authorization", "cookie", "x-api-key"} & set(headers)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"abc-1.2:3", True),
        (b"x" * 128, True),
        (b"x" * 129, False),
        (b"a b", False),
        (b"<script>", False),
        (b"", False),
    ],
)
async def test_request_id_is_taken_when_sane_and_returned(site, sent, kept):
    response = await site.ask(complete(headers=b"x-request-id: %b\r\n" % sent))
    returned = response.headers["x-request-id"]
    assert (returned == sent.decode()) is kept
    assert site.engine.requests[0].headers["x-request-id"] == returned


async def test_request_ids_differ(site):
    wire = await site.open()
    first, second = [(await wire.ask(complete())).headers["x-request-id"] for _ in range(2)]
    assert first != second


async def test_trace_goes_on_with_a_new_parent(site):
    trace = b"0af7651916cd43dd8448eb211c80319c"
    await site.ask(complete(headers=b"traceparent: 00-%b-b7ad6b7169203331-01\r\n" % trace))
    sent = site.engine.requests[0].headers["traceparent"]
    assert re.fullmatch(r"00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01", sent)
    assert "b7ad6b7169203331" not in sent


@pytest.mark.parametrize(
    "sent", [b"", b"traceparent: junk\r\n", b"traceparent: 00-%b-b7ad6b7169203331-01\r\n" % (b"0" * 32)]
)
async def test_trace_is_begun_when_there_is_none(site, sent):
    await site.ask(complete(headers=sent))
    assert re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-[0-9a-f]{16}-01", site.engine.requests[0].headers["traceparent"])


async def test_client_error_of_the_engine_is_relayed_and_counts_against_nobody(site):
    async def script(reply):
        await reply.answer(b'{"error":{"message":"too long","code":400}}', b"400 Bad Request")

    site.engine.default = script
    response = await site.ask(complete())
    assert (response.status, response.body) == (400, b'{"error":{"message":"too long","code":400}}')
    assert site.outcomes == {"rejected_by_engine": 1}
    assert site.gateway.directory.engines["m-0"].health.failures == 0


async def test_usage_and_tokens_are_counted(site):
    await site.ask(complete())
    text = (await site.ask(get("/metrics"))).body.decode()
    assert 'remuda_prompt_tokens_total{model="m"} 5' in text
    assert 'remuda_generated_tokens_total{model="m"} 7' in text
    assert 'remuda_requests_total{model="m",route="completions",outcome="completed"} 1' in text


async def test_query_string_is_not_forwarded(site):
    await site.ask(complete().replace(b"/v1/completions", b"/v1/completions?api-version=1"))
    assert site.engine.requests[0].line == "POST /v1/completions HTTP/1.1"


async def test_events_and_pace_of_a_stream_are_counted(site):
    await site.ask(complete(stream=True))
    text = (await site.ask(get("/metrics"))).body.decode()
    assert 'remuda_stream_events_total{model="m"} 4' in text
    assert 'remuda_time_per_output_token_seconds_count{model="m"} 1' in text


async def test_usage_at_the_end_of_a_stream_is_counted(site):
    async def with_usage(reply):
        await reply.begin_stream()
        await reply.event("one")
        await reply.chunk(
            b'data: {"choices":[],"usage":{"prompt_tokens":11,"total_tokens":13,"completion_tokens":2}}\n\n'
        )
        await reply.end_stream()

    site.engine.default = with_usage
    await site.ask(complete(stream=True))
    text = (await site.ask(get("/metrics"))).body.decode()
    assert 'remuda_prompt_tokens_total{model="m"} 11' in text
    assert 'remuda_generated_tokens_total{model="m"} 2' in text


async def test_of_a_usage_in_every_event_the_last_one_counts(site):
    async def with_usages(reply):
        await reply.begin_stream()
        for generated in (1, 2, 3):
            usage = b'{"prompt_tokens":11,"total_tokens":%d,"completion_tokens":%d}' % (11 + generated, generated)
            await reply.chunk(b'data: {"choices":[],"usage":%b}\n\n' % usage)
        await reply.end_stream()

    site.engine.default = with_usages
    await site.ask(complete(stream=True))
    text = (await site.ask(get("/metrics"))).body.decode()
    assert 'remuda_generated_tokens_total{model="m"} 3' in text


@pytest.mark.parametrize("status", [b"400 Bad Request", b"422 Unprocessable", b"500 Internal Server Error"])
async def test_engines_own_error_names_its_hop(site, status):
    async def script(reply):
        await reply.answer(b"{}", status)

    site.engine.default = script
    response = await site.ask(complete())
    assert (response.headers["x-remuda-hop"], response.headers["x-remuda-engine"]) == ("engine", "m-0")


async def test_long_answer_that_its_engine_gave_up_is_not_counted_as_complete(site):
    arrived = asyncio.Event()
    answer = completion("x" * 1000).replace(b'"stop"', b'"abort"')

    async def in_two_parts(reply):
        await reply.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer[:100]))
        await arrived.wait()
        await reply.send(answer[100:])

    site.engine.default = in_two_parts
    wire = await site.open()
    await wire.send(complete())
    await wire.read_head()
    arrived.set()
    await until(lambda: site.outcomes == {"stream_broken": 1})
