"""Top-level fields of a JSON body, changed by bytes."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.gateway.api.body.edit import SMALL_BYTES, edit_fields, locate_fields
from remuda.gateway.api.body.scan import Scan
from remuda.gateway.api.body.watch import Watch
from remuda.gateway.api.problems import Refused

FIELDS = ("model", "priority")
decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1000, 1000), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["model", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
keys = st.one_of(st.sampled_from(["model", "priority", "n"]), st.text(max_size=6))


def render(pairs, escape: bool, indent: bool) -> bytes:
    """A JSON object that may hold a key twice."""
    inside = ", ".join(f"{json.dumps(key, ensure_ascii=escape)} : {json.dumps(value)}" for key, value in pairs)
    return (f"{{\n {inside} }}" if indent else "{" + inside + "}").encode("utf-8", "surrogatepass")


def scan_fields(body: bytes) -> Scan:
    scan = Scan(body, Watch(FIELDS), 7)
    while not scan.advance():
        pass
    return scan


@given(st.lists(st.tuples(keys, values), min_size=1, max_size=6), st.booleans(), st.booleans(), values, values)
@settings(max_examples=300)
def test_the_engine_reads_the_new_values_and_every_other_one_as_before(pairs, escape, indent, model, priority):
    body = render(pairs, escape, indent)
    edits = {"model": json.dumps(model).encode(), "priority": json.dumps(priority).encode()}
    scan = scan_fields(body)
    edited = b"".join(edit_fields(body, scan.spans, edits, scan.first))
    assert json.loads(edited) == json.loads(body) | {"model": model, "priority": priority}
    small = b"".join(edit_fields(body, locate_fields(body, decode(body), FIELDS), edits, body.index(b"{") + 1))
    assert small == edited


LOCATED = {
    "alone": b'{"model":"a"}',
    "behind one that is deeper": b'{"x":{"model":"b"},"model":"a"}',
    "before one that is deeper": b'{"model":"a","x":[{"model":"a"}]}',
    "beside texts that look so": b'{"x":["model","b"],"model":"a","y":"\\"model\\":"}',
    "beside a key that ends so": b'{"model":"a","y\\"model":"b"}',
    "spelt with an escape": b'{"mod\\u0065l":"a","x":{"model":"a"}}',
    "spelt both ways": b'{"model":"b","mod\\u0065l":"a"}',
    "twice": b'{"model":"b","model":"a"}',
    "with spaces": b' { "model" :\n "a" } ',
    "behind brackets in a text": b'{"x":"}]","model":"a"}',
}


@pytest.mark.parametrize("body", LOCATED.values(), ids=LOCATED)
def test_the_value_that_the_engine_reads_is_the_one_that_changes(body):
    spans = locate_fields(body, decode(body), ["model"])
    start, end = spans["model"]
    assert body[start:end] == b'"a"'
    edited = b"".join(edit_fields(body, spans, {"model": b'"new"'}))
    assert edited == body[:start] + b'"new"' + body[end:]
    assert json.loads(edited) == json.loads(body) | {"model": "new"}


def test_a_field_that_is_not_there_is_put_in_first():
    body = b' {"a":1}'
    assert b"".join(edit_fields(body, {}, {"b": b"2", "c": b"[3]"}, 2)) == b' {"b":2,"c":[3],"a":1}'
    assert locate_fields(body, decode(body), ["b"]) == {}


def test_a_large_body_is_not_copied():
    body = b'{"model":"a","x":"' + b"y" * SMALL_BYTES + b'"}'
    pieces = edit_fields(body, {"model": (9, 12)}, {"model": b'"longer"'})
    assert [type(piece) for piece in pieces] == [memoryview, bytes, memoryview]
    assert all(piece.obj is body for piece in pieces if isinstance(piece, memoryview))
    assert json.loads(b"".join(pieces))["model"] == "longer"


def test_the_search_in_a_small_body_is_bounded():
    body = b'{"model":"a","model":"b","x":[' + b"[[]]," * 12_000 + b"1]}"
    with pytest.raises(Refused) as refused:
        locate_fields(body, decode(body), ["model"])
    assert refused.value.problem.message == (
        "The request body has more than 4000 lists and objects, and its model must be renamed."
    )


def test_tools_with_hundreds_of_objects_are_not_too_much():
    tools = [{"function": {"parameters": {"properties": {"model": {"type": "string", "enum": ["a", "b"]}}}}}] * 500
    body = json.dumps({"tools": tools, "model": "a"}).encode()
    assert len(body) < SMALL_BYTES
    start, end = locate_fields(body, decode(body), ["model"])["model"]
    assert body[start:end] == b'"a"'
