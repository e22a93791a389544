"""What a client may not set, on every kind of route."""

import json

import pytest
from tests.gateway.conftest import route_to
from tests.gateway.wire import complete, post

from remuda.gateway.table import Table

ALL = ("chat", "completion", "transcription", "embedding")


def apply_model(site) -> None:
    site.gateway.apply(Table(models=(route_to(site.engines, capabilities=ALL),)))


def form(**fields: str) -> bytes:
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    )
    body = f'{parts}--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nRIFF\r\n--b--\r\n'
    request = post("/v1/audio/transcriptions", body.encode())
    return request.replace(b"application/json", b"multipart/form-data; boundary=b", 1)


def chat(*parts: dict, **fields) -> bytes:
    return post("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": parts}], **fields})


LARGE = {"metadata": {"x": "x" * 70_000}}
"""Makes a body so large that it is read in slices."""
TOO_MANY = "16000 is not a number from 0 to 16 (ask for at most 16)"
DENIED = {
    "a number": (complete(n=16_000), f"n: {TOO_MANY}"),
    "a number as a float": (post("/v1/completions", b'{"model":"m","n":16000.0}'), f"n: {TOO_MANY}"),
    "a number with an exponent": (post("/v1/completions", b'{"model":"m","n":1.6e4}'), f"n: {TOO_MANY}"),
    "a number as a text": (complete(n="16000"), f"n: {TOO_MANY}"),
    "a number with underscores": (complete(n="16_000"), f"n: {TOO_MANY}"),
    "a number with spaces": (complete(n=" 16000 "), f"n: {TOO_MANY}"),
    "a number in a large body": (complete(n="16_000", **LARGE), f"n: {TOO_MANY}"),
    "a number in a form": (form(model="m", n="16000"), f"n: {TOO_MANY}"),
    "a number beyond all": (
        post("/v1/completions", b'{"model":"m","n":1e400}'),
        "n: inf is not a number from 0 to 16 (ask for at most 16)",
    ),
    "5,000 digits": (
        post("/v1/completions", b'{"n":' + b"9" * 5_000 + b"}"),
        "n: inf is not a number from 0 to 16 (ask for at most 16)",
    ),
    "5,000 digits of tokens": (
        post("/v1/completions", b'{"max_tokens":' + b"9" * 5_000 + b"}"),
        "max_tokens: inf is not a number of tokens",
    ),
    "the whole vocabulary": (
        complete(prompt_logprobs=-1),
        "prompt_logprobs: -1 is not a number from 0 to 20 (ask for at most 20)",
    ),
    "a thousand prompts": (
        post("/v1/completions", {"model": "m", "prompt": ["a"] * 1000}),
        "prompt: there are more than 256 prompts, and one request may have 256 sequences (send several requests)",
    ),
    "prompts times n": (
        post("/v1/completions", {"model": "m", "prompt": ["a"] * 20, "n": 15}),
        ("prompt: 20 prompts with n=15 make 300 sequences, and one request may have 256 sequences "
        "(send several requests)"),
    ),
    "arguments of plug-ins in a form": (
        form(model="m", vllm_xargs='{"a": 1}'),
        ("vllm_xargs may not be set by clients of this gateway: free arguments for engine plug-ins "
        "(leave `vllm_xargs` out, or ask the operator to allow it)"),
    ),
    "the queue in a form": (
        form(model="m", priority="-5"),
        ("priority may not be set by clients of this gateway: the order of the queue is the operator's: a client could "
        "put itself first (leave `priority` out, or ask the operator to allow it)"),
    ),
    "the cache of media": (
        chat({"type": "image_url", "image_url": None, "uuid": "cat"}),
        ("uuid may not be set by clients of this gateway: the engine would answer with the media that another client "
        "sent under this uuid (leave `uuid` out and send the media itself)"),
    ),
    "the cache of media, with an address": (
        chat({"uuid": "cat", "image_url": {"url": "data:image/png;base64,AA"}}),
        ("uuid may not be set by clients of this gateway: the engine would answer with the media that another client "
        "sent under this uuid (leave `uuid` out and send the media itself)"),
    ),
    "tensors of a prompt": (
        chat({"type": "prompt_embeds", "data": "AA"}),
        ("prompt_embeds may not be set by clients of this gateway: raw tensors bypass the engine's own checks of its "
        "input (send the media itself, or ask the operator to allow it)"),
    ),
    "tensors of an image in a large body": (
        chat({"image_embeds": "AA"}, **LARGE),
        ("image_embeds may not be set by clients of this gateway: raw tensors bypass the engine's own checks of its "
        "input (send the media itself, or ask the operator to allow it)"),
    ),
    "an address of Anthropic's": (
        post("/v1/messages", {"model": "m", "messages": [{"source": {"type": "url", "url": "http://10.0.0.1"}}]}),
        ("url may not be set by clients of this gateway: the engine would fetch this address from inside the "
        "operator's network; send the media inline as a data: URL: 'http://10.0.0.1'"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_bytes", "message"), DENIED.values(), ids=DENIED)
async def test_what_is_not_the_clients_is_refused_before_an_engine_sees_it(site, request_bytes, message):
    apply_model(site)
    response = await site.ask(request_bytes)
    assert response.status == 400
    assert response.error["message"] == message
    assert site.engine.requests == []


ALLOWED = {
    "a number": complete(n="16.0"),
    "256 prompts": post("/v1/completions", {"model": "m", "prompt": ["a"] * 256}),
    "a prompt of a thousand tokens": post("/v1/completions", {"model": "m", "prompt": [1] * 1000, "n": 16}),
    "a thousand inputs": post("/v1/embeddings", {"model": "m", "input": ["a"] * 1000}),
    "beams in a form": form(model="m", use_beam_search="true", n="4"),
    "media": chat({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}),
    "media in a large body": chat({"image_url": "data:image/png;base64," + "A" * 500_000}),
    "audio": chat({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}),
}


@pytest.mark.parametrize("request_bytes", ALLOWED.values(), ids=ALLOWED)
async def test_an_ordinary_request_reaches_the_engine_byte_for_byte(site, request_bytes):
    apply_model(site)
    assert (await site.ask(request_bytes)).status == 200
    assert site.engine.requests[0].body == request_bytes.partition(b"\r\n\r\n")[2]


async def test_headers_of_the_engine_are_not_the_clients(site):
    apply_model(site)
    headers = (
        b"X-Vllm-Priority: -5\r\nX-Session-ID: a\r\nX-data-parallel-rank: 1\r\nendpoint-load-metrics-format: JSON\r\n"
    )
    assert (await site.ask(complete(headers=headers + b"X-Mine: 1\r\n"))).status == 200
    sent = site.engine.requests[0].headers
    assert "x-mine" in sent
    assert not sent.keys() & {"x-vllm-priority", "x-session-id", "x-data-parallel-rank", "endpoint-load-metrics-format"}


SEED = "seed may not be set by clients of this gateway: this server does not take the field (leave `seed` out)"


async def test_the_operators_own_list_holds_on_every_kind_of_route(sites):
    async with sites(client_fields={"allow": (), "deny": ("seed", "use_beam_search")}) as site:
        apply_model(site)
        for request in (complete(seed=1), complete(seed=1, **LARGE), form(model="m", seed="1")):
            response = await site.ask(request)
            assert (response.status, response.error["message"]) == (400, SEED)
        response = await site.ask(form(model="m", use_beam_search="true"))
        assert response.error["param"] == "use_beam_search"
        response = await site.ask(post("/generate", {"prompt": "a", "seed": 1}))
        assert (response.status, response.error["message"]) == (400, SEED)
        response = await site.ask(post("/generate", {"prompt": "a" * 70_000, "seed": 1}))
        assert (response.status, response.error["message"]) == (400, SEED)
        assert site.engine.requests == []
        entries = [{"prompt": "a", "seed": 1}, {"prompt": "b"}]
        response = await site.ask(post("/batch-generate", json.dumps(entries).encode()))
        first, second = response.json["results"]
        assert (first["error"]["code"], first["error"]["message"]) == ("field_not_allowed", SEED)
        assert second["generated_text"] == "hello"
        assert [request.json["prompt"] for request in site.engine.requests] == ["b"]


async def test_the_operator_may_allow_more(sites):
    allow = ("sequences", "n", "uuid", "image_embeds", "media_urls", "vllm_xargs")
    async with sites(client_fields={"allow": allow, "deny": ()}) as site:
        apply_model(site)
        for request in (
            post("/v1/completions", {"model": "m", "prompt": ["a"] * 1000}),
            complete(n="16_000"),
            chat({"image_url": "http://a", "uuid": "x"}, {"type": "image_embeds", "image_embeds": "AA"}),
            form(model="m", vllm_xargs="{}"),
        ):
            assert (await site.ask(request)).status == 200
