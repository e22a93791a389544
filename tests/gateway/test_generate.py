"""/generate and /batch-generate over engines that only know /v1/completions."""

import asyncio
import json

import pytest
from tests.gateway.double_engine import completion, event
from tests.gateway.wire import complete, post, until


def generate(**fields) -> bytes:
    return post("/generate", {"prompt": "hi", **fields})


def batch(*entries) -> bytes:
    return post("/batch-generate", json.dumps({"requests": list(entries)}).encode())


async def _echo(reply):
    await reply.answer(completion(reply.request.json["prompt"].upper()))


@pytest.mark.req("A2.defaults", level="double")
async def test_generate_has_its_defaults_and_answers_text_and_tokens(site):
    response = await site.ask(generate())
    assert response.json["generated_text"] == "hello"
    assert response.json["num_tokens"] == 7
    sent = site.engine.requests[0].json
    assert site.engine.requests[0].line == "POST /v1/completions HTTP/1.1"
    assert {name: sent[name] for name in ("max_tokens", "temperature", "top_p", "top_k", "presence_penalty")} == {
        "max_tokens": 512, "temperature": 0.8, "top_p": 0.95, "top_k": 50, "presence_penalty": 0.0,
    }  # fmt: skip


async def test_engine_is_told_json_whatever_curl_calls_it(site):
    asked = generate().replace(b"application/json", b"application/x-www-form-urlencoded")
    assert (await site.ask(asked)).status == 200
    assert site.engine.requests[0].headers["content-type"] == "application/json"


async def test_stream_whose_length_the_engine_says_is_framed_anew(site):
    """Its events become others, which are not as long."""

    async def known(reply):
        body = event("hello") + b"data: [DONE]\n\n"
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body)
        await reply.send(head + body)

    site.engine.default = known
    wire = await site.open()
    response = await wire.ask(generate(stream=True))
    assert response.body.startswith(b'data: {"text":"hello"}\n\n')
    assert response.body.endswith(b"data: [DONE]\n\n")
    site.engine.default = _echo
    assert (await wire.ask(generate())).json["generated_text"] == "HI"


@pytest.mark.req("A2.answer", level="double")
async def test_generate_streams(site):
    response = await site.ask(generate(stream=True))
    events = [json.loads(line[6:]) for line in response.body.decode().split("\n\n") if line.startswith("data: {")]
    assert [event["text"] for event in events] == ["one", "two", "three", ""]
    assert response.body.endswith(b"data: [DONE]\n\n")
    assert site.outcomes == {"completed": 1}


async def test_generate_translates_each_event_as_it_comes(site):
    steps = []

    async def step_by_step(reply):
        await reply.begin_stream()
        for word in ("one", "two", "three"):
            await reply.event(word)
            await until(lambda word=word: word in steps)
        await reply.end_stream()

    site.engine.default = step_by_step
    wire = await site.open()
    await wire.send(generate(stream=True))
    await wire.read_head()
    for word in ("one", "two", "three"):
        assert (await wire.read_chunk())[0] == b'data: {"text":"%b"}\n\n' % word.encode()
        steps.append(word)


async def test_stream_that_makes_no_sense_ends_with_an_error(site):
    async def nonsense(reply):
        await reply.begin_stream()
        await reply.event("one")
        await reply.chunk(b'data: {"choices":7}\n\n')
        await reply.event("three")
        await reply.end_stream()

    site.engine.default = nonsense
    response = await site.ask(generate(stream=True))
    *_, last, rest = response.body.split(b"\n\n")
    assert last.startswith(b'data: {"error"')
    assert b"three" not in response.body
    assert rest == b""
    assert site.outcomes == {"stream_broken": 1}


@pytest.mark.req("A2.refusals", level="double")
@pytest.mark.parametrize(
    ("fields", "status"),
    [({"prompt": 1}, 400), ({"max_tokens": 0}, 400), ({"unknown": 1}, 400), ({"model": "nope"}, 404)],
)
async def test_generate_refuses_what_it_cannot_take(site, fields, status):
    response = await site.ask(generate(**fields))
    assert response.status == status
    assert response.error["hop"] == "client"
    assert site.engine.requests == []


async def test_generate_relays_an_engines_refusal(site):
    async def refuse(reply):
        await reply.answer(b'{"error":{"message":"too long"}}', b"400 Bad Request")

    site.engine.default = refuse
    response = await site.ask(generate())
    assert (response.status, response.body) == (400, b'{"error":{"message":"too long"}}')
    assert site.outcomes == {"rejected_by_engine": 1}


@pytest.mark.req("A3.order", level="double")
async def test_batch_answers_in_order_and_each_with_its_own_parameters(site):
    async def slow_first(reply):
        if reply.request.json["prompt"] == "p0":
            await until(lambda: len(site.engine.requests) == 5)
        await _echo(reply)

    site.engine.default = slow_first
    response = await site.ask(batch(*({"prompt": f"p{n}", "max_tokens": n + 1} for n in range(5))))
    assert [result["generated_text"] for result in response.json["results"]] == ["P0", "P1", "P2", "P3", "P4"]
    sent = {request.json["prompt"]: request.json["max_tokens"] for request in site.engine.requests}
    assert sent == {f"p{n}": n + 1 for n in range(5)}


@pytest.mark.req("A3.bad-entry", level="double")
async def test_bad_entry_of_a_batch_fails_alone(site):
    site.engine.default = _echo
    response = await site.ask(batch({"prompt": "a"}, {"prompt": 1}, {"prompt": "b", "model": "nope"}, {"prompt": "c"}))
    results = response.json["results"]
    assert response.status == 200
    assert [results[0]["generated_text"], results[3]["generated_text"]] == ["A", "C"]
    assert [results[1]["error"]["code"], results[2]["error"]["code"]] == ["invalid_value", "model_not_found"]


@pytest.mark.req("A3.bad-entry", level="double")
async def test_entry_whose_engine_dies_fails_alone(site):
    async def die_on_b(reply):
        await (reply.close() if reply.request.json["prompt"] == "b" else _echo(reply))

    site.engine.default = die_on_b
    results = (await site.ask(batch({"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}))).json["results"]
    assert ["error" in result for result in results] == [False, True, False]
    site.assert_nothing_leased()


async def test_batch_runs_so_many_at_a_time(sites):
    async with sites(batch_concurrency=3) as site:
        release = asyncio.Event()

        async def held(reply):
            await release.wait()
            await _echo(reply)

        site.engine.default = held
        wire = await site.open()
        await wire.send(batch(*({"prompt": str(n)} for n in range(10))))
        await until(lambda: len(site.engine.requests) == 3)
        assert site.gateway.directory.engines["m-0"].load.requests == 3
        release.set()
        assert len((await wire.read()).json["results"]) == 10
        site.assert_nothing_leased()


async def test_batch_of_bad_entries_only_does_not_nest(site):
    response = await site.ask(batch(*({"prompt": ""} for _ in range(200))))
    assert len(response.json["results"]) == 200


async def test_empty_batch_has_no_results(site):
    assert (await site.ask(batch())).json == {"results": []}


@pytest.mark.req("A3.bare-list", level="double")
async def test_bare_list_is_a_batch(site):
    assert len((await site.ask(post("/batch-generate", b'[{"prompt":"x"}]'))).json["results"]) == 1


async def test_client_that_leaves_takes_its_batch_with_it(site):
    async def hold(reply):
        await reply.gone()

    site.engine.default = hold
    wire = await site.open()
    await wire.send(batch(*({"prompt": str(n)} for n in range(5))))
    await until(lambda: len(site.engine.requests) == 5)
    await wire.close()
    await until(lambda: site.engine.open_connections == 0)
    await until(lambda: site.outcomes == {"client_disconnected": 1})
    site.assert_nothing_leased()
    site.engine.default = _echo
    assert (await site.ask(complete())).status == 200
