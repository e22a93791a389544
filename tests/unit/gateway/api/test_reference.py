from remuda.gateway.api.generate_request import RULES, Generate
from remuda.gateway.api.problems import Code
from remuda.gateway.api.reference import render_client_fields_page, render_errors_page, render_generate_page
from remuda.policy.outcome import Outcome
from remuda.vllm import client_fields


def test_every_code_and_outcome_is_on_the_page_once():
    firsts = [line.split("`")[1] for line in render_errors_page().splitlines() if line.startswith("| `")]
    assert firsts == [*Code, *Outcome]


def test_every_field_of_generate_is_on_its_page_and_has_words():
    assert tuple(RULES) == Generate.__struct_fields__
    rows = [line for line in render_generate_page().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(RULES)
    assert "| `max_tokens` | a whole number, at least 1 | `512` |" in rows
    assert "| `prompt` | a text, not empty | (required) |" in rows


def test_every_rule_on_fields_and_parts_is_on_its_page():
    page = render_client_fields_page()
    firsts = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    parts = ["uuid", *sorted(client_fields.EMBEDS)]
    assert firsts == [*client_fields.DENIED_FIELDS, *client_fields.BOUNDED_FIELDS, *parts]
    assert "| prompts × `n` (allowed as `sequences`) | 256 |" in page
    assert "| `store` | responses | responses are not stored: any engine may answer the next request |" in page
