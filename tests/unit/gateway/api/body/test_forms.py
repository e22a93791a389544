"""Multipart forms: read as the engine's parser reads them, or refused."""

import asyncio

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.datastructures import UploadFile
from starlette.requests import Request

from remuda.gateway.api.body.forms import FormReader
from remuda.gateway.api.problems import Refused

WANTED = frozenset({"model", "n", "vllm_xargs"})
TYPE = b"multipart/form-data; boundary=b"
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\x00\xff\r\n'
MODEL = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nsmall\r\n'
END = b"--b--\r\n"


def read(body: bytes, content_type: bytes = TYPE, slice_bytes: int = 1 << 18) -> dict[str, str]:
    """The wanted fields of a form, or Refused."""
    reader = FormReader(body, content_type, WANTED, slice_bytes)
    while not reader.advance():
        pass
    for name, (start, end) in reader.form.spans.items():
        assert body[start:end] == reader.form.fields[name].encode()
    return reader.form.fields


def read_as_the_engine(body: bytes, content_type: bytes, cut: int = 0) -> dict[str, list[object]] | None:
    """The wanted fields as Starlette reads them, every value of each; None when it refuses the form."""
    pieces = [body[:cut], body[cut:]]

    async def receive():
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def parse():
        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", content_type)]}
        form = await Request(scope, receive).form()
        items = form.multi_items()
        await form.close()
        return items

    try:
        items = asyncio.run(parse())
    except Exception:  # noqa: BLE001 - reason: however the engine's parser fails, it does not read the form
        return None
    found: dict[str, list[object]] = {}
    for name, value in items:
        if name in WANTED:
            found.setdefault(name, []).append("(a file)" if isinstance(value, UploadFile) else value)
    return found


REAL = {
    "curl": (
        b"multipart/form-data; boundary=------------------------d74496d66958873e",
        (
            b"--------------------------d74496d66958873e\r\n"
            b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n'
            b"--------------------------d74496d66958873e\r\n"
            b'Content-Disposition: form-data; name="model"\r\n\r\nsmall\r\n'
            b"--------------------------d74496d66958873e--\r\n"
        ),
    ),
    "dotnet": (
        b'multipart/form-data; boundary="2f1e8c3a-91d6"',
        (
            b"--2f1e8c3a-91d6\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Disposition: form-data; name=model\r\n\r\nsmall\r\n--2f1e8c3a-91d6\r\n"
            b"Content-Disposition: form-data; name=file; filename=a.wav; filename*=utf-8''a.wav\r\n\r\nRIFF\r\n"
            b"--2f1e8c3a-91d6--\r\n"
        ),
    ),
    "java": (
        b"multipart/form-data; boundary=x_Y-1; charset=UTF-8",
        (
            b'--x_Y-1\r\nContent-Disposition: form-data; name="model"\r\n'
            b"Content-Type: text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n"
            b"Content-Length: 5\r\n\r\nsmall\r\n--x_Y-1--\r\n"
        ),
    ),
    "a browser": (
        b"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk",
        (
            b'------WebKitFormBoundary7MA4YWxk\r\nContent-Disposition: form-data; name="model"\r\n\r\nsmall\r\n'
            b"------WebKitFormBoundary7MA4YWxk\r\n"
            b'Content-Disposition: form-data; name="file"; filename="\xc3\xa9.wav"\r\n'
            b"Content-Type: audio/wav\r\n\r\nRIFF\r\n------WebKitFormBoundary7MA4YWxk--\r\n"
        ),
    ),
    "python requests": (
        b"multipart/form-data; boundary=0123456789abcdef",
        (
            b'--0123456789abcdef\r\nContent-Disposition: form-data; name="model"\r\n\r\nsmall\r\n'
            b'--0123456789abcdef\r\nContent-Disposition: form-data; name="timestamp_granularities[]"\r\n\r\nword\r\n'
            b'--0123456789abcdef\r\nContent-Disposition: form-data; name="timestamp_granularities[]"\r\n\r\nsegment\r\n'
            b'--0123456789abcdef\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\r\n'
            b"--0123456789abcdef--\r\n"
        ),
    ),
    "a boundary inside a line": (TYPE, FILE.replace(b"RIFF", b"x--b\r\r--b--b\r\n-b") + MODEL + END),
    "without a last line end": (TYPE, FILE + MODEL + b"--b--"),
}  # fmt: skip


@pytest.mark.parametrize("slice_bytes", [1, 7, 1 << 18])
@pytest.mark.parametrize(("content_type", "body"), REAL.values(), ids=REAL)
def test_the_forms_of_real_clients_are_read_as_the_engine_reads_them(content_type, body, slice_bytes):
    assert read(body, content_type, slice_bytes) == {"model": "small"}
    assert read_as_the_engine(body, content_type) == {"model": ["small"]}


def part(head: bytes, value: bytes = b"large") -> bytes:
    return b"--b\r\n" + head + b"\r\n\r\n" + value + b"\r\n"


NAMED = b'Content-Disposition: form-data; name="model"'
TWO_READINGS = {
    "a second model": (MODEL + part(NAMED) + END, "the field 'model' stands in it twice"),
    "a model that is a file": (
        part(NAMED + b'; filename="x"') + END,
        None,
    ),
    "x-filename": (
        part(b'Content-Disposition: form-data; name="model"; x-filename="x"') + END,
        "a Content-Disposition has the parameter x-filename; only name and filename are read",
    ),
    "an unknown parameter": (
        part(NAMED + b"; size=5") + END,
        "a Content-Disposition has the parameter size; only name and filename are read",
    ),
    "two names": (
        part(b'Content-Disposition: form-data; name="x"; name="model"') + END,
        "a Content-Disposition has the parameter name twice",
    ),
    "two names in two cases": (
        part(b'Content-Disposition: form-data; name="x"; NAME="model"') + END,
        "a Content-Disposition has the parameter name twice",
    ),
    "name*": (
        part(b"Content-Disposition: form-data; name=\"x\"; name*=utf-8''model") + END,
        "a Content-Disposition has the parameter name*; only name and filename are read",
    ),
    "name*0": (
        part(b'Content-Disposition: form-data; name*0="mo"; name*1="del"') + END,
        "a Content-Disposition has the parameter name*0; only name and filename are read",
    ),
    "filename* alone": (
        part(b"Content-Disposition: form-data; name=\"model\"; filename*=utf-8''x") + END,
        "a part has filename* without filename",
    ),
    "an escaped quote in a name": (
        part(b'Content-Disposition: form-data; name="x\\"; name="model"') + END,
        "a Content-Disposition is malformed, or a quoted value in it has a backslash or a quote",
    ),
    "a quote that does not end": (
        part(b'Content-Disposition: form-data; name="x; name=model') + END,
        "a Content-Disposition is malformed, or a quoted value in it has a backslash or a quote",
    ),
    "two dispositions": (
        part(b'Content-Disposition: form-data; name="x"\r\n' + NAMED) + END,
        "the header content-disposition stands twice in one part",
    ),
    "another disposition": (
        part(b'Content-Disposition: attachment; name="model"') + END,
        "a part has no Content-Disposition of the kind form-data with a name",
    ),
    "no disposition": (
        part(b"Content-Type: text/plain") + END,
        "a part has no Content-Disposition of the kind form-data with a name",
    ),
    "no name": (part(b'Content-Disposition: form-data; filename="model"') + END, "a part has no name"),
    "a folded header": (
        part(b'Content-Disposition: form-data;\r\n name="model"') + END,
        "a header of a part is malformed",
    ),
    "a space before the colon": (
        part(b'Content-Disposition : form-data; name="model"') + END,
        "a header of a part is malformed",
    ),
    "a header without end of line": (
        part(b'X: y\nContent-Disposition: form-data; name="model"') + END,
        "a header of a part is malformed",
    ),
    "base64": (
        part(NAMED + b"\r\nContent-Transfer-Encoding: base64", b"bGFyZ2U=") + END,
        "a part has a Content-Transfer-Encoding; send its bytes as they are",
    ),
    "_charset_": (
        part(b'Content-Disposition: form-data; name="_charset_"', b"utf-16") + MODEL + END,
        "the field _charset_ would change how other fields are read; send UTF-8",
    ),
    "many headers": (part(b"A: b\r\n" * 8 + NAMED) + END, "a part has more than 8 headers"),
    "a long header": (
        part(b"A: " + b"b" * 4096 + b"\r\n" + NAMED) + END,
        "a part has no empty line behind its headers, or more than 4096 bytes of headers",
    ),
    "many parts": (FILE + b"".join(
        part(b'Content-Disposition: form-data; name="x%d"' % index) for index in range(64)) + END,
        "it has more than 64 parts"),
    "no last delimiter": (FILE + MODEL, "its last delimiter, --boundary--, is missing"),
    "cut in the last delimiter": (
        FILE + MODEL + b"--b-",
        "something follows a delimiter on its line, or the last delimiter",
    ),
    "a preamble": (b"hello\r\n" + MODEL + END, "it does not begin with its first delimiter, --boundary"),
    "an empty line first": (b"\r\n" + MODEL + END, "it does not begin with its first delimiter, --boundary"),
    "a part in the epilogue": (
        MODEL + END + part(NAMED) + END,
        "something follows a delimiter on its line, or the last delimiter",
    ),
    "spaces behind a delimiter": (
        MODEL + b"--b \r\n" + NAMED + b"\r\n\r\nlarge\r\n" + END,
        "something follows a delimiter on its line, or the last delimiter",
    ),
    "a longer boundary": (
        FILE + b"--bb\r\n" + NAMED + b"\r\n\r\nlarge\r\n" + END,
        "something follows a delimiter on its line, or the last delimiter",
    ),
    "a delimiter behind a bare line feed": (
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\n--b\r\n' + NAMED + b"\r\n\r\nlarge\r\n" + END,
        "a delimiter in it follows a line feed without a carriage return",
    ),
    "line feeds only": (
        (MODEL + END).replace(b"\r\n", b"\n"),
        "its first delimiter is not the end of a line, or no part follows",
    ),
    "no part": (END, "its first delimiter is not the end of a line, or no part follows"),
    "an empty part": (b"--b\r\n" + END, "a part of it is empty"),
    "headers without an empty line": (
        b"--b\r\n" + NAMED + b"\r\n" + END,
        "a part has no empty line behind its headers, or more than 4096 bytes of headers",
    ),
    "JSON": (b'{"model":"large"}', "it does not begin with its first delimiter, --boundary"),
    "nothing": (b"", "it does not begin with its first delimiter, --boundary"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "detail"), TWO_READINGS.values(), ids=TWO_READINGS)
def test_a_form_with_two_readings_is_refused_in_clear_words(body, detail):
    with pytest.raises(Refused) as refused:
        read(body)
    problem = refused.value.problem
    assert problem.status == 400
    expected = "model: it is a file, and a text is wanted" if detail is None else f"The form is not valid: {detail}."
    assert problem.message == expected


PARAMETERS = "its Content-Type has other parameters than one boundary of 1 to 70 characters and UTF-8"
BAD_TYPES = {
    "xboundary": (b"multipart/form-data; xboundary=b", PARAMETERS),
    "two boundaries": (b"multipart/form-data; boundary=c; boundary=b", PARAMETERS),
    "two boundaries in two cases": (b"multipart/form-data; Boundary=c; boundary=b", PARAMETERS),
    "an escape in a quoted boundary": (b'multipart/form-data; boundary="\\b"', PARAMETERS),
    "a quote in a boundary": (b'multipart/form-data; boundary=b"', PARAMETERS),
    "a space in a boundary": (b'multipart/form-data; boundary="b c"', PARAMETERS),
    "boundary*": (b"multipart/form-data; boundary*=utf-8''b", PARAMETERS),
    "boundary*0": (b"multipart/form-data; boundary*0=b", PARAMETERS),
    "an empty boundary": (b"multipart/form-data; boundary=", PARAMETERS),
    "a long boundary": (b"multipart/form-data; boundary=" + b"b" * 71, PARAMETERS),
    "a comma": (b"multipart/form-data; boundary=b, multipart/form-data; boundary=c", PARAMETERS),
    "another charset": (b"multipart/form-data; charset=utf-16; boundary=b", PARAMETERS),
    "a semicolon at the end": (b"multipart/form-data; boundary=b;", PARAMETERS),
    "no boundary": (b"multipart/form-data", "its Content-Type names no boundary"),
    "a charset alone": (b"multipart/form-data; charset=utf-8", "its Content-Type names no boundary"),
    "another type": (b"multipart/mixed; boundary=b", "its Content-Type names no boundary"),
}


@pytest.mark.parametrize(("content_type", "detail"), BAD_TYPES.values(), ids=BAD_TYPES)
def test_a_content_type_with_two_readings_is_refused_in_clear_words(content_type, detail):
    with pytest.raises(Refused) as refused:
        read(MODEL + END, content_type)
    assert refused.value.problem.message == f"The form is not valid: {detail}."


VALUES = {
    "a file": (part(NAMED + b'; filename="a"'), "model: it is a file, and a text is wanted"),
    "not UTF-8": (part(NAMED, b"\xff"), "model: it is not UTF-8"),
    "UTF-16": (part(NAMED + b"\r\nContent-Type: text/plain; charset=utf-16"), "model: its character set is not UTF-8"),
    "Latin-1 beyond ASCII": (
        part(NAMED + b'\r\nContent-Type: text/plain; charset="ISO-8859-1"', b"\xc3\xa9"),
        "model: its character set is not UTF-8",
    ),
    "long": (part(NAMED, b"x" * 4097), "model: it is longer than 4096 bytes"),
    "very long, and not looked at": (
        part(b'Content-Disposition: form-data; name="prompt"', b"x" * 1_048_577),
        "The form is not valid: a text field is longer than 1048576 bytes.",
    ),
}


@pytest.mark.parametrize(("body", "message"), VALUES.values(), ids=VALUES)
def test_a_value_that_cannot_be_a_text_is_refused(body, message):
    with pytest.raises(Refused) as refused:
        read(body + END)
    assert refused.value.problem.message == message


def test_a_file_in_slices_costs_one_step_a_slice():
    body = FILE.replace(b"RIFF", b"x" * 1000) + MODEL + END
    reader = FormReader(body, TYPE, WANTED, slice_bytes=100)
    steps = 1
    while not reader.advance():
        steps += 1
    assert steps == 1 + 10 + 2  # the first delimiter, ten slices within the file, the two other delimiters


# ---- against the engine's parser

LINES = [
    b'Content-Disposition: form-data; name="model"', b'Content-Disposition: form-data; name="n"',
    b"content-disposition: form-data; name=model", b'Content-Disposition: form-data; name="model"; filename="f"',
    b'Content-Disposition: form-data; name="x"; name="model"', b'Content-Disposition: form-data ; NAME = "model"',
    b'Content-Disposition: form-data; filename="a\\"; name="n"; x="',
    b'Content-Disposition:form-data;name="vllm_xargs"',
    b'Content-Disposition:\tform-data; name="model"', b'Content-Disposition: ; name="model"',
    b'Content-Disposition: form-data; name=" model"', b'Content-Disposition: form-data; name="a;b"; filename="c;d"',
    b"Content-Disposition: form-data; name=\"n\"; filename*=utf-8''f", b"Content-Disposition: form-data; name='model'",
    b'Content-Disposition: form-data; name="m\xc3\xb6del"', b'Content-Disposition: form-data; name="mod%65l"',
    b"Content-Type: text/plain; charset=utf-8", b"Content-Transfer-Encoding: binary", b"X: y", b"X:", b": y", b"", b" ",
]  # fmt: skip
TYPES = [
    b"multipart/form-data; boundary=b", b'multipart/form-data; boundary="b"', b"Multipart/Form-Data;boundary=b",
    b"multipart/form-data; charset=utf-8; boundary=b", b"multipart/form-data; boundary=b; charset=latin-1",
    b'multipart/form-data; a="x; boundary=c"; boundary=b', b"multipart/form-data; boundary=b ",
    b"multipart/mixed; boundary=b",
    b"multipart/form-data ; boundary = b", b"multipart/form-data; boundary='b'", b"multipart/form-data; boundary=b;",
]  # fmt: skip
BREAKS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\n\r\n", b" \r\n", b""])
DELIMITERS = st.sampled_from([b"--b"] * 12 + [b"--b ", b"--bb", b"-b", b"\r\n--b", b"--b--"])
CONTENTS = st.sampled_from(
    [b"small", b"large", b"", b"1", b"\r\n", b"--b", b"\xff", b"\r\n--", b"--", b"{}", b"a\r\n\r\nb"]
)


@st.composite
def forms(draw) -> bytes:
    """Forms of right and wrong pieces in a likely order; a few bytes are then lost, doubled or replaced."""
    body = draw(st.sampled_from([b""] * 8 + [b"\r\n", b"x"]))
    for _ in range(draw(st.integers(0, 3))):
        body += draw(DELIMITERS) + draw(BREAKS)
        for line in draw(st.lists(st.sampled_from(LINES[:3] + LINES), min_size=1, max_size=2)):
            body += line + draw(BREAKS)
        body += draw(BREAKS) + draw(CONTENTS) + draw(BREAKS)
    body += draw(st.sampled_from([b"--b--\r\n"] * 8 + [b"--b--", b"--b", b"--b-", b"--b--x", b"--b--\n", b""]))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(body)))
        body = (
            body[:at]
            + draw(st.sampled_from([b"", b"\r", b"\n", b"-", b"b", b'"', b";", b" "]))
            + body[at + draw(st.integers(0, 1)) :]
        )
    return body


@given(forms(), st.sampled_from(TYPES[:2] * 4 + TYPES), st.integers(1, 50), st.integers(0, 80))
@example(MODEL + END, TYPE, 1, 5)
@settings(max_examples=1500, deadline=None)
def test_whatever_is_accepted_the_engine_reads_alike(body, content_type, slice_bytes, cut):
    try:
        ours = read(body, content_type, slice_bytes)
    except Refused:
        return
    assert read_as_the_engine(body, content_type, cut) == {name: [value] for name, value in ours.items()}


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_no_fault(body):
    with pytest.raises(Refused):
        read(body)
    with pytest.raises(Refused):
        read(MODEL + END, body)
