"""Fields of requests that are not the client's to set."""

import contextlib
import math

import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remuda.vllm.client_fields import (
    BOUNDED_FIELDS,
    DENIED_FIELDS,
    decide_denied_fields,
    decide_sequences,
    read_flag,
    read_number,
)

DENIED = {
    "priority": ("chat", {"priority": -5}),
    "cache_salt": ("completions", {"cache_salt": "other"}),
    "kv_transfer_params": ("chat", {"kv_transfer_params": {}}),
    "prompt_embeds": ("completions", {"prompt_embeds": "AAAA"}),
    "chat_template": ("chat", {"chat_template": "{{ 1 }}"}),
    "mm_processor_kwargs": ("chat", {"mm_processor_kwargs": {"x": 1}}),
    "vllm_xargs": ("transcriptions", {"vllm_xargs": '{"session_id": "x"}'}),
    "watermarking": ("messages", {"watermarking": False}),
    "store": ("responses", {"store": True}),
    "previous_response_id": ("responses", {"previous_response_id": "resp_1"}),
    "background": ("responses", {"background": True}),
}


@pytest.mark.parametrize("field", DENIED)
def test_a_field_that_is_not_the_clients_is_denied_with_its_reason(field):
    route, fields = DENIED[field]
    denied = decide_denied_fields({"model": "m", **fields}, route)
    assert denied is not None
    assert (denied.field, denied.reason, denied.out_of_bounds) == (field, DENIED_FIELDS[field].reason, False)
    assert denied.hint == f"leave `{field}` out, or ask the operator to allow it"


ORDINARY = {
    "chat": ("chat", {"messages": [], "temperature": 0, "n": 2, "tools": [], "seed": 1, "logit_bias": {}}),
    "nulls": ("chat", {"priority": 0, "cache_salt": None, "chat_template": None, "watermarking": None}),
    "spelt off": ("transcriptions", {"priority": "0", "return_mm_kwargs": "false", "watermarking": "true"}),
    "stateless responses": ("responses", {"store": False, "previous_response_id": None, "background": False}),
    "prompt of completions": ("completions", {"prompt": "text", "store": True}),
    "bounded": ("completions", {"n": 16, "best_of": 16, "prompt_logprobs": 20, "logprobs": 5}),
    "logprobs of chat": ("chat", {"logprobs": True, "top_logprobs": 20}),
    "not a number": ("completions", {"n": "many"}),
    "beam search": ("chat", {"use_beam_search": True, "n": 4}),
}


@pytest.mark.parametrize(("route", "fields"), ORDINARY.values(), ids=ORDINARY)
def test_an_ordinary_request_passes(route, fields):
    assert decide_denied_fields(fields, route) is None


def test_the_operator_may_allow_and_deny_fields():
    assert decide_denied_fields({"chat_template": "x"}, "chat", allow={"chat_template"}) is None
    assert decide_denied_fields({"n": 99}, "chat", allow={"n"}) is None
    denied = decide_denied_fields({"seed": 1}, "chat", allow={"seed"}, deny={"seed"})
    assert denied is not None
    assert (denied.field, denied.reason) == ("seed", "this server does not take the field")


def test_every_rule_has_a_reason_a_person_understands():
    assert all(len(rule.reason) > 20 for rule in DENIED_FIELDS.values())


# ---- numbers

SPELLINGS = [
    16_000,
    16_000.0,
    1.6e4,
    "16000",
    "16_000",
    " 16000 ",
    "+16000",
    "16000.0",
    "16000.",
    "\u00a016000\u3000",
    "016000",
    "1_6_0_0_0",
    10**400,
    math.inf,
    math.nan,
    -1,
    "-1",
]


@pytest.mark.parametrize("field", BOUNDED_FIELDS)
@pytest.mark.parametrize("value", SPELLINGS, ids=lambda value: repr(value)[:12])
def test_a_bound_holds_for_every_spelling_of_a_number(field, value):
    value = float(value) if isinstance(value, int) and value < 1e300 else math.inf if value == 10**400 else value
    denied = decide_denied_fields({field: value}, "completions")
    assert denied is not None
    assert denied.out_of_bounds
    assert denied.reason == f"{read_number(value):g} is not a number from 0 to {BOUNDED_FIELDS[field]}"
    assert denied.hint == f"ask for at most {BOUNDED_FIELDS[field]}"


READ_INT = pydantic.TypeAdapter(int | None).validate_python
READ_BOOL = pydantic.TypeAdapter(bool | None).validate_python
TEXTS = st.one_of(
    st.text(alphabet="0123456789_+-.eE \t\n\u00a0infatrueINFATRUE", max_size=8),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.sampled_from(["true", "TRUE", "True", "yes", "on", "off", " true", "١٦", "1e1", "0x10", "1__0", "_1", ""]),
)
VALUES = st.one_of(TEXTS, st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats())


@given(VALUES)
@example("1_6")
@example(" 16 ")
@example("0_-7")
@example("00-7")
@example(16.0)
@example(True)
def test_whatever_number_the_engine_reads_is_read_alike(value):
    try:
        theirs = READ_INT(value)
    except pydantic.ValidationError:
        return
    ours = read_number(value)
    assert (ours is None) == (theirs is None)
    assert theirs is None or ours == float(theirs)


@given(VALUES)
@example("TRUE")
@example(1.0)
@example(0.0)
def test_a_flag_is_read_as_the_engine_reads_it(value):
    try:
        theirs = READ_BOOL(value)
    except pydantic.ValidationError:
        theirs = None
    assert read_flag(value) is theirs


@given(st.recursive(VALUES, lambda inner: st.lists(inner, max_size=2)))
def test_a_value_that_counts_as_off_never_turns_anything_on(value):
    if decide_denied_fields({"return_mm_kwargs": value, "priority": value}, "chat") is None:
        for read in (READ_INT, READ_BOOL):
            with contextlib.suppress(pydantic.ValidationError):
                assert not read(value)


# ---- sequences


@pytest.mark.parametrize(
    ("prompts", "n", "allow", "passes"),
    [
        (1, 16, (), True),
        (256, 1, (), True),
        (256, 0, (), True),
        (16, 16, (), True),
        (17, 16, (), False),
        (257, 1, (), False),
        (1000, 1, {"sequences"}, True),
        (1, 1000, {"n"}, True),
        (257, 1, {"n"}, False),
    ],
)
def test_prompts_times_n_are_bounded(prompts, n, allow, passes):
    denied = decide_sequences(prompts, n, allow)
    assert (denied is None) == passes


@pytest.mark.parametrize(
    ("prompts", "n", "reason"),
    [
        (200, 2, "200 prompts with n=2 make 400 sequences, and one request may have 256 sequences"),
        (257, 1, "there are more than 256 prompts, and one request may have 256 sequences"),
        (999, 9, "there are more than 256 prompts, and one request may have 256 sequences"),
    ],
)
def test_too_many_sequences_are_denied_in_numbers(prompts, n, reason):
    denied = decide_sequences(prompts, n)
    assert denied is not None
    assert (denied.field, denied.reason, denied.hint) == ("prompt", reason, "send several requests")
