"""What a body asks for: read as the engine reads it, edited without touching anything else."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.gateway.api.ask import decode_object, replace_model
from remuda.gateway.api.forms import find_form_field, replace_form_field
from remuda.gateway.api.problems import Refused

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1000, 1000), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)
keys = st.one_of(st.sampled_from(["model", "stream", "n"]), st.text(max_size=6))


def render(pairs, escape: bool, indent: bool) -> bytes:
    """A JSON object that may hold a key twice."""
    inside = ", ".join(f"{json.dumps(key, ensure_ascii=escape)} : {json.dumps(value)}" for key, value in pairs)
    return (f"{{\n {inside} }}" if indent else "{" + inside + "}").encode("utf-8", "surrogatepass")


@given(st.lists(st.tuples(keys, values), max_size=6), st.booleans(), st.booleans())
def test_of_a_key_that_stands_there_twice_gateway_and_engine_take_the_same(pairs, escape, indent):
    body = render(pairs, escape, indent)
    ours = {name: msgspec.json.decode(raw) for name, raw in decode_object(body).items()}
    assert ours == json.loads(body)


@given(st.dictionaries(keys, values, max_size=5), st.text(max_size=10), st.booleans())
def test_only_the_models_name_changes(fields, name, indent):
    body = render([*fields.items()][:2] + [("model", "old")] + [pair for pair in fields.items()][2:], True, indent)  # noqa: C416, RUF005
    if "model" in fields:
        with pytest.raises(Refused):
            replace_model(body, name)
        return
    edited = replace_model(body, name)
    assert json.loads(edited) == json.loads(body) | {"model": name}
    assert edited.replace(msgspec.json.encode(name), b"", 1).count(b" ") >= 0


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a"}',
        b'{"x":{"model":"b"},"model":"a"}',
        b'{"x":["model","b"],"model":"a","y":"\\"model\\":"}',
        b'{"mod\\u0065l":"a"}',
        b' { "model" : "a" } ',
        b'{"x":"}","model":"a"}',
    ],
)
def test_the_right_model_is_found(body):
    edited = replace_model(body, "new")
    assert json.loads(edited)["model"] == "new"
    assert {**json.loads(edited), "model": "a"} == json.loads(body)


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\nname="model"\r\n'
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n--b--\r\n'
)


@pytest.mark.parametrize("boundary", [b"boundary=b", b'boundary="b"', b"charset=utf-8; boundary=b"])
def test_field_of_a_form_is_found_and_replaced(boundary):
    kind = b"multipart/form-data; " + boundary
    assert find_form_field(FORM % b"a", kind, b"model") == b"a"
    assert replace_form_field(FORM % b"a", kind, b"model", b"bcd") == FORM % b"bcd"
    assert find_form_field(FORM % b"a", kind, b"missing") is None


@given(st.binary(max_size=200))
def test_garbage_is_no_form_and_no_fault(body):
    find_form_field(body, b"multipart/form-data; boundary=b", b"model")
