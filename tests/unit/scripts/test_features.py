"""The features page says no more than the marks and the results of the tests prove."""

import json
import re

import pytest
from scripts import features
from scripts.features import Proof, Requirement, Results

RUN = Proof("A1.chat", "run", "vLLM", "tests/t.py::test_chat")
UNIT = Proof("A1.fields", "unit", None, "tests/t.py::test_fields")
ROW = Requirement("API", {"chat": "the client chats", "fields": "fields are checked"})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(
            '@pytest.mark.req("A1.chat", level="run", on="vLLM")\ndef test_x(): ...',
            [("A1.chat", "run", "vLLM", "test_x")],
            id="function",
        ),
        pytest.param(
            '@pytest.mark.req("A1.chat")\nasync def test_x(): ...', [("A1.chat", None, None, "test_x")], id="no level"
        ),
        pytest.param(
            '@pytest.mark.req("A1.chat", "G3.keys", level="unit")\ndef test_x(): ...',
            [("A1.chat", "unit", None, "test_x"), ("G3.keys", "unit", None, "test_x")],
            id="two claims",
        ),
        pytest.param(
            'pytestmark = [pytest.mark.req("E4.n", level="double")]\ndef test_x(): ...',
            [("E4.n", "double", None, "test_x")],
            id="module",
        ),
        pytest.param(
            '@pytest.mark.req("E4.n", level="double")\nclass TestX:\n  def test_y(self): ...',
            [("E4.n", "double", None, "TestX::test_y")],
            id="class",
        ),
        pytest.param('@pytest.mark.req("A1.chat", level="unit")\ndef helper(): ...', [], id="not a test"),
    ],
)
def test_marks_become_proofs(tmp_path, monkeypatch, source, expected):
    monkeypatch.setattr(features, "ROOT", tmp_path)
    file = tmp_path / "test_it.py"
    file.write_text(source)
    found = [(p.claim, p.level, p.on, p.test.partition("::")[2]) for p in features.proofs_in(file)]
    assert found == expected


@pytest.mark.parametrize(
    ("row", "proofs", "level"),
    [
        pytest.param(Requirement("API"), [], "not yet", id="no claims"),
        pytest.param(ROW, [RUN, UNIT], "unit", id="the weakest claim"),
        pytest.param(
            ROW, [RUN, UNIT, Proof("A1.fields", "double", None, "t")], "double", id="a claim's strongest proof counts"
        ),
        pytest.param(Requirement("API", {"chat": "x"}, ("tools",)), [RUN], "in part: run on vLLM", id="in part"),
        pytest.param(
            Requirement("API", {"chat": "x", "fields": "y"}),
            [RUN, Proof("A1.fields", "run", "Prometheus", "t")],
            "run on vLLM and run on Prometheus",
            id="two real things",
        ),
    ],
)
def test_a_row_is_worth_its_weakest_claim(row, proofs, level):
    assert features.rate_requirement("A1", row, proofs) == level


@pytest.mark.parametrize(
    ("proofs", "problems"),
    [
        pytest.param([RUN, UNIT], [], id="all is proved"),
        pytest.param([RUN], ["docs/features.yaml: no test proves the claim A1.fields"], id="a claim without a mark"),
        pytest.param(
            [RUN, UNIT, Proof("ZZ.chat", "unit", None, "t")],
            ["t: docs/features.yaml has no claim ZZ.chat"],
            id="a mark without a claim",
        ),
        pytest.param(
            [RUN, UNIT, Proof("A1.chat", None, None, "t")],
            ["t: the mark A1.chat needs a level, one of run, validated, double, unit"],
            id="no level",
        ),
        pytest.param(
            [RUN, UNIT, Proof("A1.chat", "proved", None, "t")],
            ["t: the mark A1.chat needs a level, one of run, validated, double, unit"],
            id="unknown level",
        ),
        pytest.param(
            [RUN, UNIT, Proof("A1.chat", "run", None, "t")],
            ["t: the mark A1.chat is run on None; it can be on vLLM, Prometheus"],
            id="run on nothing",
        ),
        pytest.param(
            [RUN, UNIT, Proof("A1.chat", "unit", "vLLM", "t")],
            ["t: the mark A1.chat is unit on vLLM; it can be on nothing"],
            id="unit on something",
        ),
    ],
)
def test_marks_and_claims_must_meet(proofs, problems):
    assert features.find_problems({"A1": ROW}, proofs) == problems


def results(whole: bool = True, **outcomes: str) -> Results:
    return Results("s", "c", whole, {f"tests/t.py::{name}": outcome for name, outcome in outcomes.items()})


@pytest.mark.parametrize(
    ("found", "problems"),
    [
        pytest.param(results(test_chat="passed"), [], id="passed"),
        pytest.param(results(test_chat="failed"), ["failed"], id="failed"),
        pytest.param(results(test_chat="skipped"), ["skipped"], id="skipped"),
        pytest.param(results(test_other="passed"), ["did not run"], id="not run"),
        pytest.param(results(whole=False, test_other="passed"), [], id="not run in a run of other tests"),
        pytest.param(
            Results("s", "c", True, {"tests/t.py::test_chat[a]": "passed", "tests/t.py::test_chat[b]": "failed"}),
            ["failed"],
            id="one of two cases failed",
        ),
    ],
)
def test_a_proof_that_did_not_pass_is_named(found, problems):
    expected = [f"tests/t.py::test_chat proves A1.chat in docs/features.md, and {problem}" for problem in problems]
    assert features.find_unproved([RUN], found) == expected


def test_results_of_other_sources_and_of_a_part_of_the_tests_are_not_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "ROOT", tmp_path)
    monkeypatch.setattr(features, "RESULTS", tmp_path / "build" / "test-results.json")
    failed = {"tests/t.py::test_chat": "failed"}
    assert features.check_results([RUN]) == (
        [],
        "build/test-results.json is missing: outcomes are not checked (`make test` writes it)",
    )
    Results("other", "abc", True, failed).write()
    assert features.check_results([RUN]) == (
        [],
        "build/test-results.json is of other sources (commit abc): outcomes are not checked",
    )
    Results(features.fingerprint_sources(), "abc", True, failed).write()
    problems, said = features.check_results([RUN])
    assert problems == ["tests/t.py::test_chat proves A1.chat in docs/features.md, and failed"]
    assert said == "outcomes of 1 tests on these sources are checked"
    features.RESULTS.write_text(json.dumps({"format": "another"}))
    assert features.read_results() is None


def test_the_fingerprint_changes_with_a_source_and_not_with_compiled_files(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "ROOT", tmp_path)
    source = tmp_path / "src" / "a.py"
    source.parent.mkdir()
    source.write_text("a = 1")
    before = features.fingerprint_sources()
    (source.parent / "__pycache__").mkdir()
    (source.parent / "__pycache__" / "a.pyc").write_text("x")
    assert features.fingerprint_sources() == before
    source.write_text("a = 2")
    assert features.fingerprint_sources() != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A1: {name: API, claims: {a: b}}", "A1: a row with claims says what is missing, `[]` for nothing"),
        ("A1: {name: API, missing: []}", "A1: a row with claims says what is missing, `[]` for nothing"),
        ("A1: {name: API, today: all}", "A1: unknown field today"),
    ],
    ids=["missing is missing", "no claims", "unknown field"],
)
def test_a_row_that_leaves_something_unsaid_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        features.read_requirements(text)
