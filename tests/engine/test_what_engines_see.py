"""What a gateway sends to real engines, and what it never sends: taps between the two read every byte."""

import json

import pytest
from tests.unit.vllm.test_routes import ADMIN

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION = [{"role": "user", "content": "What is a gateway?"}]
PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]}]


def find_seen(front, request_ids: set[str]) -> set[str]:
    """Those of the requests that reached an engine."""
    seen = {request.header("x-request-id") for tap in front.taps.values() for request in tap.requests()}
    return seen & request_ids


@pytest.mark.req("A2.defaults", level="run", on="vLLM")
async def test_generate_fills_in_the_documented_defaults(front):
    answer, seen = await front.ask_through("small", "/generate", b'{"prompt": "The sun is", "model": "small"}')
    assert answer.status == 200
    assert json.loads(seen.request.body) == {
        "model": "small",
        "prompt": "The sun is",
        "max_tokens": 512,
        "temperature": 0.8,
        "top_p": 0.95,
        "top_k": 50,
        "presence_penalty": 0,
        "frequency_penalty": 0,
    }


@pytest.mark.req("A1.allow-list", "G3.public-paths", level="run", on="vLLM")
async def test_no_route_that_is_not_inference_reaches_an_engine(front):
    body = json.dumps({"model": "small", "messages": QUESTION}).encode()
    asked = {path: await front.ask(path, body) for path in ADMIN}
    assert {path for path, (answer, _) in asked.items() if answer.status not in {404, 405}} == set()
    assert find_seen(front, {request_id for _, request_id in asked.values()}) == set()


@pytest.mark.req("A1.client-fields", level="run", on="vLLM")
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"priority": -5}, id="priority"),
        pytest.param({"cache_salt": "another-tenant"}, id="cache_salt"),
        pytest.param({"kv_transfer_params": {"do_remote_prefill": True}}, id="kv_transfer_params"),
        pytest.param({"chat_template": "{{ messages }}"}, id="chat_template"),
        pytest.param({"n": 1000}, id="n"),
        pytest.param({"messages": PICTURE}, id="address of a picture"),
    ],
)
async def test_a_field_with_power_over_others_reaches_no_engine(front, fields):
    body = json.dumps({"model": "small", "messages": QUESTION, **fields}).encode()
    answer, request_id = await front.ask("/v1/chat/completions", body)
    assert (answer.status, json.loads(answer.body)["error"]["hop"]) == (400, "client")
    assert find_seen(front, {request_id}) == set()
