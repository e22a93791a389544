"""The usage of every stream is known: the gateway asks for it, and cuts it out again where the client did not ask."""

import json

import pytest
from tests.gateway.double_engine import event
from tests.gateway.wire import complete, get, post

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
USAGE = b'data: {"id":"cmpl-1","choices":[],"usage":{"prompt_tokens":11,"total_tokens":18,"completion_tokens":7}}\n\n'
DONE = b"data: [DONE]\n\n"
EVENTS = [event("one"), event("two"), event("three", "stop")]


def like_vllm(cuts):
    """Streams the events, and the usage when it was asked for, cut into chunks by `cuts`."""

    async def serve(reply):
        options = reply.request.json.get("stream_options") or {}
        usage = [USAGE] if options.get("include_usage") else []
        await reply.begin_stream()
        for chunk in cuts([*EVENTS, *usage, DONE]):
            await reply.chunk(chunk)
        await reply.send(b"0\r\n\r\n")

    return serve


CUTS = {
    "an event a chunk": lambda events: events,
    "all at once": lambda events: [b"".join(events)],
    "usage with the event before": lambda events: [events[0], events[1], events[2] + events[3], *events[4:]],
    "usage with the end": lambda events: [*events[:3], b"".join(events[3:])],
    "seven bytes a chunk": lambda events: [b"".join(events)[i : i + 7] for i in range(0, len(b"".join(events)), 7)],
}


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
async def test_usage_that_only_the_gateway_asked_for_is_counted_and_cut_out(site, cuts):
    site.engine.default = like_vllm(cuts)
    response = await site.ask(post("/v1/chat/completions", CHAT))
    assert response.body == b"".join([*EVENTS, DONE])
    assert site.engine.requests[0].json == {**CHAT, "stream_options": {"include_usage": True}}
    page = (await site.ask(get("/metrics"))).body.decode()
    assert 'remuda_prompt_tokens_total{model="m"} 11' in page
    assert 'remuda_generated_tokens_total{model="m"} 7' in page
    assert 'remuda_stream_events_total{model="m"} 4' in page


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
async def test_usage_that_the_client_asked_for_arrives(site, cuts):
    site.engine.default = like_vllm(cuts)
    body = json.dumps({**CHAT, "stream_options": {"include_usage": True}}).encode()
    response = await site.ask(post("/v1/chat/completions", body))
    assert response.body == b"".join([*EVENTS, USAGE, DONE])
    assert site.engine.requests[0].body == body
    assert 'remuda_generated_tokens_total{model="m"} 7' in (await site.ask(get("/metrics"))).body.decode()


EDITS = {
    "no options": (b'"prompt":"a","stream":true', b""),
    "null": (b'"stream":true,"stream_options":null,"prompt":"a"', b'{"include_usage":true}'),
    "off": (b'"stream":true,"stream_options":{"include_usage":false},"prompt":"a"', b'{"include_usage":true}'),
    "another option": (
        b'"stream":true,"stream_options":{"continuous_usage_stats":false},"prompt":"a"',
        b'{"include_usage":true,"continuous_usage_stats":false}',
    ),
}


@pytest.mark.parametrize(("fields", "options"), EDITS.values(), ids=EDITS)
async def test_nothing_but_the_options_of_a_stream_is_edited(site, fields, options):
    await site.ask(post("/v1/completions", b'{"model":"m",%b}' % fields))
    if options:
        before, _, rest = fields.partition(b'"stream_options":')
        passed = b'{"model":"m",%b"stream_options":%b,%b}' % (before, options, rest.rpartition(b",")[2])
    else:
        passed = b'{"stream_options":{"include_usage":true},"model":"m",%b}' % fields
    assert site.engine.requests[0].body == passed


@pytest.mark.parametrize("fields", [b'"prompt":"a"', b'"prompt":"a","stream":false'], ids=["not said", "off"])
async def test_request_that_does_not_stream_is_not_edited(site, fields):
    body = b'{"model":"m",%b}' % fields
    await site.ask(post("/v1/completions", body))
    assert site.engine.requests[0].body == body


async def test_event_without_choices_that_states_no_usage_arrives(site):
    other = b'data: {"id":"cmpl-1","choices":[],"prompt_filter_results":[]}\n\n'

    async def serve(reply):
        await reply.begin_stream()
        for chunk in (other, *EVENTS, DONE):
            await reply.chunk(chunk)
        await reply.send(b"0\r\n\r\n")

    site.engine.default = serve
    response = await site.ask(complete(stream=True))
    assert response.body == b"".join([other, *EVENTS, DONE])


async def test_text_that_looks_like_the_usage_arrives(site):
    text = event('"choices":[],"usage":{"prompt_tokens":1,"total_tokens":2,"completion_tokens":1}')

    async def serve(reply):
        await reply.begin_stream()
        await reply.chunk(text)
        await reply.end_stream()

    site.engine.default = serve
    response = await site.ask(complete(stream=True))
    assert response.body == text + DONE


async def test_renamed_model_and_usage_are_edited_together(sites):
    async with sites() as site:
        site.gateway.directory.engines["m-0"].model_name = "other"
        await site.ask(complete(stream=True))
        assert site.engine.requests[0].json == {
            "model": "other", "prompt": "hi", "stream": True, "stream_options": {"include_usage": True}
        }  # fmt: skip
