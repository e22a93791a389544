"""Fields of requests that are not the client's to set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.vllm.client_fields import DENIED_FIELDS, decide_denied_fields, find_media_urls

DENIED = {
    "priority": ("chat", {"priority": -5}),
    "cache_salt": ("completions", {"cache_salt": "other"}),
    "kv_transfer_params": ("chat", {"kv_transfer_params": {}}),
    "prompt_embeds": ("completions", {"prompt_embeds": "AAAA"}),
    "chat_template": ("chat", {"chat_template": "{{ 1 }}"}),
    "mm_processor_kwargs": ("chat", {"mm_processor_kwargs": {"x": 1}}),
    "store": ("responses", {"store": True}),
    "previous_response_id": ("responses", {"previous_response_id": "resp_1"}),
    "background": ("responses", {"background": True}),
    "n": ("chat", {"n": 10_000}),
    "top_logprobs": ("chat", {"top_logprobs": 21}),
}


@pytest.mark.parametrize("field", DENIED)
def test_a_field_that_is_not_the_clients_is_denied_with_its_reason(field):
    route, fields = DENIED[field]
    denied = decide_denied_fields({"model": "m", **fields}, route)
    assert denied is not None
    assert denied.field == field
    assert denied.reason
    assert denied.hint


ORDINARY = {
    "chat": ("chat", {"messages": [], "temperature": 0, "n": 2, "tools": [], "seed": 1, "logit_bias": {}}),
    "nulls": ("chat", {"priority": 0, "cache_salt": None, "chat_template": None}),
    "stateless responses": ("responses", {"store": False, "previous_response_id": None, "background": False}),
    "prompt of completions": ("completions", {"prompt": "text", "store": True}),
    "bounded": ("completions", {"n": 16, "best_of": 16, "prompt_logprobs": 20}),
    "not a number": ("completions", {"n": "many"}),
}


@pytest.mark.parametrize(("route", "fields"), ORDINARY.values(), ids=ORDINARY)
def test_an_ordinary_request_passes(route, fields):
    assert decide_denied_fields(fields, route) is None


def test_the_operator_may_allow_and_deny_fields():
    assert decide_denied_fields({"chat_template": "x"}, "chat", allow={"chat_template"}) is None
    assert decide_denied_fields({"n": 99}, "chat", allow={"n"}) is None
    denied = decide_denied_fields({"seed": 1}, "chat", allow={"seed"}, deny={"seed"})
    assert denied is not None
    assert denied.field == "seed"


def test_every_rule_has_a_reason_a_person_understands():
    assert all(len(rule.reason) > 20 for rule in DENIED_FIELDS.values())


MEDIA = {
    "openai": ({"messages": [{"content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/x"}}]}]}, 1),
    "short form": ({"messages": [{"content": [{"image_url": "http://10.0.0.1/x"}]}]}, 1),
    "file scheme": ({"messages": [{"content": [{"video_url": {"url": "file:///etc/passwd"}}]}]}, 1),
    "anthropic": ({"messages": [{"content": [{"type": "image", "source": {"type": "url", "url": "http://a"}}]}]}, 1),
    "inline": ({"messages": [{"content": [{"image_url": {"url": "data:image/png;base64,AA"}}]}]}, 0),
    "base64 source": ({"messages": [{"content": [{"source": {"type": "base64", "data": "AA"}}]}]}, 0),
    "text about urls": ({"messages": [{"content": "see http://example.com"}]}, 0),
    "tool schema": ({"tools": [{"function": {"parameters": {"properties": {"url": {"type": "string"}}}}}]}, 0),
}


@pytest.mark.parametrize(("body", "count"), MEDIA.values(), ids=MEDIA)
def test_addresses_that_the_engine_would_fetch_are_found_wherever_they_stand(body, count):
    assert len(list(find_media_urls(body))) == count


@given(st.integers(1, 5000))
def test_a_deep_body_does_not_exhaust_the_stack(depth):
    body: object = {"image_url": "http://a"}
    for _ in range(depth):
        body = [body]
    assert list(find_media_urls(body)) == ["http://a"]
