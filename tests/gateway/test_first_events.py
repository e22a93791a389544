"""Streams in which an engine says that it failed, in each dialect, in its first event or in a later one."""

import asyncio

import pytest
from tests.gateway.double_engine import completion, event
from tests.gateway.wire import complete, post, until

CREATED = b'event: response.created\ndata: {"response":{"status":"in_progress"},"type":"response.created"}\n\n'
IN_PROGRESS = CREATED.replace(b"response.created", b"response.in_progress")
ADDED = b'event: response.output_item.added\ndata: {"item":{},"type":"response.output_item.added"}\n\n'
COMPLETED = b'event: response.completed\ndata: {"response":{"status":"completed"},"type":"response.completed"}\n\n'
MESSAGE = (
    b'event: message_start\ndata: {"type":"message_start"}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n'
)
MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
IN_BAND = b'data: {"error": {"message": "EngineCore encountered an issue", "code": 500}}\n\n'
ANTHROPIC_ERROR = b'event: error\ndata: {"type":"error","error":{"type":"internal_error","message":"dead"}}\n\n'
RESPONSE_ERROR = b'event: error\ndata: {"type":"error","code":"500","message":"dead"}\n\n'
FAILED = b'event: response.failed\ndata: {"response":{"status":"failed"},"type":"response.failed"}\n\n'
CANCELLED = COMPLETED.replace(b'"status":"completed"', b'"status":"cancelled"')
DONE = b"data: [DONE]\n\n"

DIALECTS = {
    "completions": ("/v1/completions", [event("one"), event("two", "stop"), DONE]),
    "chat": ("/v1/chat/completions", [event("one"), event("two", "stop"), DONE]),
    "messages": ("/v1/messages", [MESSAGE, MESSAGE_STOP]),
    "responses": ("/v1/responses", [CREATED, IN_PROGRESS, ADDED, COMPLETED, DONE]),
}
"""Name → route, and the events of a stream that goes well."""

ASKED = {
    "completions": {"prompt": "x"},
    "chat": {"messages": []},
    "messages": {"messages": [], "max_tokens": 9},
    "responses": {"input": "x"},
}

FIRST_ERRORS = {
    "completions": [IN_BAND, DONE],
    "chat": [IN_BAND, DONE],
    "messages": [ANTHROPIC_ERROR],
    "messages-in-band": [IN_BAND, DONE],
    "responses": [CREATED, IN_PROGRESS, RESPONSE_ERROR],
    "responses-failed": [CREATED, IN_PROGRESS, FAILED, DONE],
    "responses-in-band": [CREATED, IN_PROGRESS, IN_BAND, DONE],
    "responses-at-once": [RESPONSE_ERROR],
}
"""What an engine sends that fails before it has answered anything."""


def stream_of(events: list[bytes], *, size: int = 0):
    """A script that sends these events: each in a chunk, or all of them in chunks of `size` bytes."""
    data = b"".join(events)
    chunks = [data[start : start + size] for start in range(0, len(data), size)] if size else events

    async def script(reply):
        await reply.begin_stream()
        for chunk in chunks:
            await reply.chunk(chunk)
            await asyncio.sleep(0)  # each in a segment of its own
        await reply.send(b"0\r\n\r\n")

    return script


def ask(dialect: str) -> bytes:
    return post(DIALECTS[dialect][0], {"model": "m", **ASKED[dialect], "stream": True})


@pytest.mark.parametrize("size", [0, 1, 7, 1 << 20], ids=["by-event", "by-byte", "by-7", "at-once"])
@pytest.mark.parametrize("failure", FIRST_ERRORS)
async def test_request_whose_stream_begins_with_an_error_is_answered_by_another_engine(sites, failure, size):
    dialect = failure.partition("-")[0]
    good = DIALECTS[dialect][1]
    async with sites(engines=2) as site:
        for engine in site.engines:
            engine.default = stream_of(good)
        for _ in range(2):  # whichever engine is asked first
            for engine in site.engines:
                engine.scripts.clear()
            site.engines[0].scripts.append(stream_of(FIRST_ERRORS[failure], size=size))
            response = await site.ask(ask(dialect))
            assert (response.status, response.body) == (200, b"".join(good))
        assert site.outcomes == {"completed": 2}
        assert len(site.engines[0].requests) >= 1
        assert sum(len(engine.requests) for engine in site.engines) == 3
        site.assert_nothing_leased()


@pytest.mark.parametrize("failure", FIRST_ERRORS)
async def test_stream_that_begins_with_an_error_is_a_502_when_there_is_no_other_engine(site, failure):
    site.engine.default = stream_of(FIRST_ERRORS[failure])
    response = await site.ask(ask(failure.partition("-")[0]))
    assert response.status == 502
    assert response.json["error"]["code"] == "engine_failed"
    assert response.json["error"]["message"] == (
        "The engine of the model 'm' failed before it answered: it failed while it worked on the request."
    )
    assert site.outcomes == {"upstream_failed": 1}


@pytest.mark.parametrize("size", [0, 1], ids=["by-event", "by-byte"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_stream_that_goes_well_is_relayed_byte_for_byte(site, dialect, size):
    good = DIALECTS[dialect][1]
    site.engine.default = stream_of(good, size=size)
    response = await site.ask(ask(dialect))
    assert (response.status, response.body) == (200, b"".join(good))
    assert site.outcomes == {"completed": 1}


async def test_events_before_the_work_reach_nobody_until_the_answer_begins(site):
    work, sent = asyncio.Event(), asyncio.Event()

    async def slow(reply):
        await reply.begin_stream()
        await reply.chunk(CREATED)
        await reply.chunk(IN_PROGRESS)
        sent.set()
        await work.wait()
        await reply.chunk(ADDED)
        await reply.chunk(COMPLETED + DONE)
        await reply.send(b"0\r\n\r\n")

    site.engine.default = slow
    wire = await site.open()
    await wire.send(ask("responses"))
    await sent.wait()
    (upstream,) = site.gateway.directory.engines["m-0"].pool.connections
    await until(lambda: upstream.peek() == CREATED + IN_PROGRESS, "the gateway has the preamble")
    assert not wire.reader._buffer
    work.set()
    assert (await wire.read()).body == CREATED + IN_PROGRESS + ADDED + COMPLETED + DONE


@pytest.mark.parametrize("end", ["closed", "ended", "silent"])
async def test_engine_that_sends_nothing_behind_the_preamble_is_replaced(sites, end):
    async with sites(engines=2, timeouts={"first_byte_s": 0.2}) as site:

        async def preamble_only(reply):
            await reply.begin_stream()
            await reply.chunk(CREATED + IN_PROGRESS)
            if end == "closed":
                await reply.close()
            elif end == "ended":
                await reply.send(b"0\r\n\r\n")
            else:
                await reply.gone()

        site.engines[0].scripts.append(preamble_only)
        for engine in site.engines:
            engine.default = stream_of(DIALECTS["responses"][1])
        for _ in range(2):
            assert (await site.ask(ask("responses"))).body == b"".join(DIALECTS["responses"][1])
        assert site.outcomes == {"completed": 2}
        assert len(site.engines[0].requests) >= 1
        site.assert_nothing_leased()


async def test_stream_that_ends_behind_the_preamble_is_a_502_when_there_is_no_other_engine(site):
    site.engine.default = stream_of([CREATED, IN_PROGRESS])
    response = await site.ask(ask("responses"))
    assert (response.status, response.error["message"]) == (
        502,
        "The engine of the model 'm' failed before it answered: it ended the stream before it had begun to answer.",
    )


async def test_client_that_leaves_while_the_preamble_is_held_costs_nothing(site):
    async def preamble_only(reply):
        await reply.begin_stream()
        await reply.chunk(CREATED)
        await reply.gone()

    site.engine.default = preamble_only
    wire = await site.open()
    await wire.send(ask("responses"))
    await until(lambda: site.engine.requests)
    (upstream,) = site.gateway.directory.engines["m-0"].pool.connections
    await until(lambda: upstream.peek() == CREATED)
    await wire.close()
    await until(lambda: site.engine.open_connections == 0)
    await until(lambda: site.outcomes == {"client_disconnected": 1})
    site.assert_nothing_leased()


async def test_preamble_is_held_but_not_without_bound(site):
    """/v1/responses repeats the request in it, so it may be long."""
    long = CREATED.replace(b"in_progress", b"x" * 1_500_000)

    async def endless(reply):
        await reply.begin_stream()
        for _ in range(4):
            await reply.chunk(long)
        await reply.gone()

    site.engine.default = endless
    wire = await site.open()
    await wire.send(ask("responses"))
    assert b"200 OK" in await wire.read_head()
    assert (await wire.read_chunk())[0].startswith(long)


# ---- later errors


LATER_ERRORS = {
    "completions": ([event("one")], [IN_BAND, DONE]),
    "completions-abort": ([event("one")], [event("", "abort"), DONE]),
    "chat": ([event("one")], [IN_BAND, DONE]),
    "messages": ([MESSAGE], [ANTHROPIC_ERROR]),
    "messages-in-band": ([MESSAGE], [IN_BAND]),
    "responses": ([CREATED, IN_PROGRESS, ADDED], [RESPONSE_ERROR]),
    "responses-failed": ([CREATED, IN_PROGRESS, ADDED], [FAILED, DONE]),
    "responses-cancelled": ([CREATED, IN_PROGRESS, ADDED], [CANCELLED, DONE]),
}
"""What is sent before an engine fails, and how it says that it failed."""


@pytest.mark.parametrize("size", [0, 5], ids=["by-event", "by-5"])
@pytest.mark.parametrize("failure", LATER_ERRORS)
async def test_stream_in_which_an_engine_says_that_it_failed_is_not_counted_as_completed(site, failure, size):
    before, after = LATER_ERRORS[failure]
    seen = asyncio.Event()
    later = b"".join(after)

    async def fail_later(reply):
        await reply.begin_stream()
        for piece in before:
            await reply.chunk(piece)
        await seen.wait()
        for start in range(0, len(later), size or len(later)):
            await reply.chunk(later[start : start + (size or len(later))])
        await reply.send(b"0\r\n\r\n")

    site.engine.default = fail_later
    wire = await site.open()
    await wire.send(ask(failure.partition("-")[0]))
    await wire.read_head()
    await wire.read_chunk()
    seen.set()
    await until(lambda: site.outcomes)
    assert site.outcomes == {"stream_broken": 1}
    site.assert_nothing_leased()


# ---- whole answers


ABORTED = completion().replace(b'"stop"', b'"abort"')


@pytest.mark.parametrize("body", [ABORTED, ABORTED.replace(b'":"abort"', b'": "abort"')], ids=["plain", "spaced"])
async def test_whole_answer_that_its_engine_gave_up_is_had_from_another(sites, body):
    async with sites(engines=2) as site:

        async def give_up(reply):
            await reply.answer(body)

        site.engines[0].scripts.append(give_up)
        for _ in range(2):
            assert (await site.ask(complete())).body == completion()
        assert site.outcomes == {"completed": 2}
        assert sum(len(engine.requests) for engine in site.engines) == 3


async def test_prompt_that_speaks_of_errors_and_aborts_is_answered(site):
    said = '"finish_reason":"abort" data: {"error"} event: error\n event: response.failed\n'

    async def repeat(reply):
        if b'"stream": true' in reply.request.body:
            await stream_of([event(said), event(said, "stop"), DONE])(reply)
        else:
            await reply.answer(completion(said))

    site.engine.default = repeat
    assert (await site.ask(complete(said))).body == completion(said)
    assert (await site.ask(complete(said, stream=True))).body == event(said) + event(said, "stop") + DONE
    assert site.outcomes == {"completed": 2}
