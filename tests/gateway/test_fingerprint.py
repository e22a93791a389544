"""A stream keeps its system_fingerprint when the gateway cuts out the usage that only the gateway asked for.

vLLM writes the fingerprint into the last event: into the one that finishes, or, with the usage, into the usage.
"""

import pytest
from tests.gateway.double_engine import event
from tests.gateway.test_usage import CHAT, CUTS, DONE
from tests.gateway.wire import post

PRINT = b',"system_fingerprint":"vllm-0.32.0-2ece27c6"'
USAGE = b'data: {"id":"cmpl-1","choices":[],"usage":{"prompt_tokens":1,"total_tokens":3,"completion_tokens":2}%b}\n\n'
WORDS = [event("one"), event("two")]
STOP = event("three", "stop")


def stamp(finishing: bytes) -> bytes:
    """The event with a fingerprint behind its other fields."""
    return finishing.removesuffix(b"}\n\n") + PRINT + b"}\n\n"


def stream(events: list[bytes]):
    async def serve(reply):
        await reply.begin_stream()
        for each in events:
            await reply.chunk(each)
        await reply.send(b"0\r\n\r\n")

    return serve


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
async def test_the_fingerprint_of_the_usage_moves_to_the_event_that_finishes(site, cuts):
    site.engine.default = stream(cuts([*WORDS, STOP, USAGE % PRINT, DONE]))
    response = await site.ask(post("/v1/chat/completions", CHAT))
    assert response.body == b"".join([*WORDS, stamp(STOP), DONE])


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
async def test_a_usage_without_a_fingerprint_adds_none(site, cuts):
    site.engine.default = stream(cuts([*WORDS, STOP, USAGE % b"", DONE]))
    response = await site.ask(post("/v1/chat/completions", CHAT))
    assert response.body == b"".join([*WORDS, STOP, DONE])


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([*WORDS, STOP, DONE], id="no usage"),
        pytest.param([STOP, *WORDS, STOP, DONE], id="one choice finishes before the other"),
        pytest.param([*WORDS, STOP], id="no end"),
        pytest.param([*WORDS, STOP, STOP, DONE], id="two choices finish"),
    ],
)
async def test_an_engine_that_states_no_usage_is_relayed_as_it_is(site, events):
    site.engine.default = stream(events)
    response = await site.ask(post("/v1/chat/completions", CHAT))
    assert response.body == b"".join(events)


async def test_text_that_looks_like_an_end_stays_text(site):
    text = event('"finish_reason\\":\\"stop\\" \\"choices\\":[]')
    site.engine.default = stream([text, STOP, USAGE % PRINT, DONE])
    response = await site.ask(post("/v1/chat/completions", CHAT))
    assert response.body == b"".join([text, stamp(STOP), DONE])
