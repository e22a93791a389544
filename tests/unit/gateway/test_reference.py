from remuda.gateway.answers import Code
from remuda.gateway.reference import render_errors_page
from remuda.policy.outcome import Outcome


def test_every_code_and_outcome_is_on_the_page_once():
    firsts = [line.split("`")[1] for line in render_errors_page().splitlines() if line.startswith("| `")]
    assert firsts == [*Code, *Outcome]
