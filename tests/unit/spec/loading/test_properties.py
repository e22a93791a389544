"""For every input, the loader returns documents or raises SpecError, and every position lies inside the file."""

import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remuda import spec

WORDS = st.sampled_from(
    """apiVersion: remuda.dev/v1alpha1|kind: Model|kind: Tenant|metadata: {name: m}|spec:|  engine:|    dtype: x|
  source: demo://remuda-demo|  - a|  replicas: &x 1|  scaling: *x|
---|...|\t|? a|: b|<<: *x|!!str x|'|"|[|]|{|}|#|>|no|1:30|
\0|\ufeff|\u2028|\x85|  adapters: [{}]|%YAML 1.1|é""".replace("|\n", "|").split("|")
)
FILES = st.lists(WORDS, max_size=25).map("\n".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
CORPUS = [path.read_text() for path in sorted((Path(__file__).parent / "corpus").glob("*/*.yaml"))]


def check_refusal(text: str, name: str, refused: spec.SpecError) -> None:
    assert refused.problems
    lines = text.removeprefix("\ufeff").split("\n")
    for problem in refused.problems:
        assert problem.place is not None
        assert problem.place.file == name
        assert 1 <= problem.place.line <= len(lines)
        assert 1 <= problem.place.column <= len(lines[problem.place.line - 1]) + 1
        assert problem.message


def load(text: str) -> None:
    try:
        spec.load_text(text, "f")
    except spec.SpecError as refused:
        check_refusal(text, "f", refused)


@given(st.text() | FILES)
def test_any_text(text: str):
    load(text)


@given(st.binary())
def test_any_bytes(data: bytes):
    try:
        spec.load_bytes(data, "f")
    except spec.SpecError as refused:
        check_refusal(data.decode("utf-8", "replace"), "f", refused)


@given(VALUES, st.sampled_from(["Model", "ModelGateway", "Tenant"]))
def test_any_value_in_place_of_spec(value: object, kind: str):
    document = {"apiVersion": spec.API_VERSION, "kind": kind, "metadata": {"name": "m"}, "spec": value}
    load(json.dumps(document))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(CORPUS), st.integers(0, 2000), st.integers(0, 40), WORDS | st.text(max_size=6))
def test_any_damage_to_a_good_file(text: str, start: int, length: int, insert: str):
    load(text[:start] + insert + text[start + length :])


@given(st.lists(st.sampled_from(CORPUS), min_size=2, max_size=5))
def test_any_files_joined(texts: list[str]):
    load("\n---\n".join(texts))
