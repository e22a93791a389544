"""Reads the text fields of a multipart form, the model's name beside an audio file for example.

The engine reads the form with Starlette's parser. This one accepts fewer forms: it refuses every form that another
parser could read differently, because a form in which the gateway finds one model and the engine another one would
pass the check of the API key. What it accepts, Starlette reads alike; a test holds the two against each other.

The file is searched for delimiters in slices and never copied. Does not know what the fields mean.
"""

import re
from typing import Final

from remuda.gateway.api import problems
from remuda.gateway.api.problems import Refused

_PARTS: Final = 64
"""Most parts of one form. The transcription route of the engine has 25 fields."""
_HEAD_BYTES: Final = 4096
"""Longest head of a part; Starlette takes 4,224 bytes a line."""
_HEAD_LINES: Final = 8
"""Most header lines of a part; Starlette takes no more."""
_TEXT_BYTES: Final = 1 << 20
"""Longest text field; Starlette takes no more."""
_VALUE_BYTES: Final = 4096
"""Longest value of a field that the gateway itself reads: a model's name, a number, a flag."""
SLICE_BYTES: Final = 256 * 1024
"""How much of the body is searched at a time, in about 0.1 ms."""

_TYPE: Final = re.compile(rb"multipart/form-data[ \t]*(?:;|\Z)", re.IGNORECASE)
_TYPE_PARAMETER: Final = re.compile(
    rb"[ \t]*;[ \t]*(?:boundary=(?:\"([0-9A-Za-z'()+_,./:=?-]{1,70})\"|([0-9A-Za-z'()+_,./:=?-]{1,70}))"
    rb'|charset=(?:"utf-8"|utf-8))[ \t]*(?=;|\Z)',
    re.IGNORECASE,
)
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_HEADER: Final = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t -~\x80-\xff]*)\Z")
_DISPOSITION: Final = re.compile(rb"form-data[ \t]*(?=;)", re.IGNORECASE)
_DISPOSITION_PARAMETER: Final = re.compile(
    rb";[ \t]*(" + _TOKEN + rb')=(?:"([^"\\]*)"|(' + _TOKEN + rb"))[ \t]*(?=;|\Z)"
)
_CHARSET: Final = re.compile(rb"charset[ \t]*=[ \t]*\"?([^\";]*)", re.IGNORECASE)
_ASCII_CHARSETS: Final = frozenset({b"us-ascii", b"iso-8859-1", b"windows-1252"})
"""Character sets that agree with UTF-8 on ASCII; Java's clients label their fields so."""
_PLAIN_ENCODINGS: Final = frozenset({b"binary", b"8bit", b"7bit"})
"""Transfer encodings that change no byte. Starlette decodes none, other parsers decode base64."""


class Form:
    """The fields of one form that were asked for. `spans` says where their values stand in the body."""

    __slots__ = ("fields", "spans")

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.spans: dict[str, tuple[int, int]] = {}


class FormReader:
    """Reads one form, a slice at a time. `wanted` are the names of the fields to keep."""

    __slots__ = ("_body", "_line", "_names", "_parts", "_position", "_slice_bytes", "_start", "_wanted", "form")

    def __init__(
        self, body: bytes, content_type: bytes, wanted: frozenset[str], slice_bytes: int = SLICE_BYTES
    ) -> None:
        self._body = body
        self._wanted = wanted
        self._slice_bytes = slice_bytes
        self._names: set[bytes] = set()
        self._parts = 0
        self._line = b"\n--" + _read_boundary(content_type)
        """How a line with a delimiter begins, and the line feed before it."""
        self._start = 0
        """Where the current part begins, behind its delimiter line."""
        self._position = 0
        self.form = Form()

    def advance(self) -> bool:
        """Search one slice. True when the whole form is read."""
        if not self._start:
            self._begin()
            return False
        body, line, position = self._body, self._line, self._position
        end = min(position + self._slice_bytes, len(body))
        found = body.find(line, position, min(end + len(line) - 1, len(body)))
        if found < 0:
            if end == len(body):
                raise _invalid("its last delimiter, --boundary--, is missing")
            self._position = end
            return False
        return self._end_part(found)

    def _begin(self) -> None:
        mark = self._line[1:]
        if not self._body.startswith(mark):
            raise _invalid("it does not begin with its first delimiter, --boundary")
        if self._body[len(mark) : len(mark) + 2] != b"\r\n":
            raise _invalid("its first delimiter is not the end of a line, or no part follows")
        self._begin_part(len(mark) + 2)

    def _begin_part(self, start: int) -> None:
        self._start = start
        self._position = start - 1  # the next delimiter may follow at once

    def _end_part(self, found: int) -> bool:
        """A line that begins with --boundary follows `found`: keep the part before it. True when it is the last."""
        body = self._body
        if body[found - 1] != 0x0D:
            raise _invalid("a delimiter in it follows a line feed without a carriage return")
        if found - 1 < self._start:
            raise _invalid("a part of it is empty")
        self._parts += 1
        if self._parts > _PARTS:
            raise _invalid(f"it has more than {_PARTS} parts")
        self._read_part(self._start, found - 1)
        after = found + len(self._line)
        following = body[after : after + 2]
        if following == b"\r\n":
            self._begin_part(after + 2)
            return False
        if following == b"--" and body[after + 2 : after + 5] in {b"", b"\r\n"}:
            return True
        raise _invalid("something follows a delimiter on its line, or the last delimiter")

    def _read_part(self, start: int, end: int) -> None:
        head_end = self._body.find(b"\r\n\r\n", start, min(end, start + _HEAD_BYTES + 4))
        if head_end < 0:
            raise _invalid(f"a part has no empty line behind its headers, or more than {_HEAD_BYTES} bytes of headers")
        headers = _read_headers(self._body[start:head_end])
        name, is_file = _read_disposition(headers)
        if name in self._names and not name.endswith(b"[]"):
            raise _invalid(f"the field {problems.cut(name.decode('utf-8', 'replace'))!r} stands in it twice")
        self._names.add(name)
        self._keep_field(name, is_file, headers, (head_end + 4, end))

    def _keep_field(self, name: bytes, is_file: bool, headers: dict[bytes, bytes], span: tuple[int, int]) -> None:
        start, end = span
        known = name.decode("utf-8", "replace")
        if is_file:
            if known in self._wanted:
                raise Refused(problems.invalid_value(known, "it is a file, and a text is wanted"))
            return
        if end - start > _TEXT_BYTES:
            raise _invalid(f"a text field is longer than {_TEXT_BYTES} bytes")
        if known not in self._wanted:
            return
        if end - start > _VALUE_BYTES:
            raise Refused(problems.invalid_value(known, f"it is longer than {_VALUE_BYTES} bytes"))
        self.form.fields[known] = _decode_value(known, self._body[start:end], headers)
        self.form.spans[known] = span


def is_form(content_type: bytes) -> bool:
    """Whether this content type promises a multipart form."""
    return _TYPE.match(content_type) is not None


def _invalid(detail: str) -> Refused:
    return Refused(problems.invalid_form(detail))


def _read_boundary(content_type: bytes) -> bytes:
    """The boundary in the Content-Type header, which may have a charset of UTF-8 beside it and nothing else."""
    match = _TYPE.match(content_type)
    position = -1 if match is None else content_type.find(b";")
    boundary = b""
    while 0 <= position < len(content_type):
        parameter = _TYPE_PARAMETER.match(content_type, position)
        if parameter is None or (boundary and parameter.lastindex):
            raise _invalid("its Content-Type has other parameters than one boundary of 1 to 70 characters and UTF-8")
        boundary = parameter[1] or parameter[2] or boundary
        position = parameter.end()
    if not boundary:
        raise _invalid("its Content-Type names no boundary")
    return boundary


def _read_headers(head: bytes) -> dict[bytes, bytes]:
    """The headers of a part by their names in lower case; each may stand there once."""
    lines = head.split(b"\r\n")
    if len(lines) > _HEAD_LINES:
        raise _invalid(f"a part has more than {_HEAD_LINES} headers")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        match = _HEADER.match(line)
        if match is None:
            raise _invalid("a header of a part is malformed")
        name = match[1].lower()
        if name in headers:
            raise _invalid(f"the header {name.decode()} stands twice in one part")
        headers[name] = match[2]
    encoding = headers.get(b"content-transfer-encoding", b"binary").strip().lower()
    if encoding not in _PLAIN_ENCODINGS:
        raise _invalid("a part has a Content-Transfer-Encoding; send its bytes as they are")
    return headers


def _read_disposition(headers: dict[bytes, bytes]) -> tuple[bytes, bool]:
    """The name of a part, and whether it is a file."""
    value = headers.get(b"content-disposition", b"")
    match = _DISPOSITION.match(value)
    if match is None:
        raise _invalid("a part has no Content-Disposition of the kind form-data with a name")
    parameters = _read_parameters(value, match.end())
    name = parameters.get(b"name")
    if name is None:
        raise _invalid("a part has no name")
    if name == b"_charset_":
        raise _invalid("the field _charset_ would change how other fields are read; send UTF-8")
    if b"filename*" in parameters and b"filename" not in parameters:
        raise _invalid("a part has filename* without filename")
    return name, b"filename" in parameters


def _read_parameters(value: bytes, position: int) -> dict[bytes, bytes]:
    parameters: dict[bytes, bytes] = {}
    while position < len(value):
        match = _DISPOSITION_PARAMETER.match(value, position)
        if match is None:
            raise _invalid("a Content-Disposition is malformed, or a quoted value in it has a backslash or a quote")
        key = match[1].lower()
        if key not in {b"name", b"filename", b"filename*"}:
            raise _invalid(f"a Content-Disposition has the parameter {key.decode()}; only name and filename are read")
        if key in parameters:
            raise _invalid(f"a Content-Disposition has the parameter {key.decode()} twice")
        parameters[key] = match[2] if match[2] is not None else match[3]
        position = match.end()
    return parameters


def _decode_value(name: str, value: bytes, headers: dict[bytes, bytes]) -> str:
    """The text of a field. Every character set that its header may state must read the same text."""
    charset = _CHARSET.search(headers.get(b"content-type", b""))
    stated = b"utf-8" if charset is None else charset[1].strip().lower()
    if stated != b"utf-8" and not (stated in _ASCII_CHARSETS and value.isascii()):
        raise Refused(problems.invalid_value(name, "its character set is not UTF-8"))
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Refused(problems.invalid_value(name, "it is not UTF-8")) from None
