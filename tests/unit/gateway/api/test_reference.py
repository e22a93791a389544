from remuda.gateway.api.generate_request import RULES, Generate
from remuda.gateway.api.problems import Code
from remuda.gateway.api.reference import render_errors_page, render_generate_page
from remuda.policy.outcome import Outcome


def test_every_code_and_outcome_is_on_the_page_once():
    firsts = [line.split("`")[1] for line in render_errors_page().splitlines() if line.startswith("| `")]
    assert firsts == [*Code, *Outcome]


def test_every_field_of_generate_is_on_its_page_and_has_words():
    assert tuple(RULES) == Generate.__struct_fields__
    rows = [line for line in render_generate_page().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(RULES)
    assert "| `max_tokens` | a whole number, at least 1 | `512` |" in rows
    assert "| `prompt` | a text, not empty | (required) |" in rows
