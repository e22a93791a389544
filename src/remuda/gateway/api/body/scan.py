"""Reads a large JSON body in slices, without building a tree of it, and without stalling the event loop.

`Scan` walks the outermost object key by key and records where the values of the wanted fields stand. Everything deeper
is skipped by one regular expression at C speed, which stops only at brackets and at the few keys that matter at any
depth: those of media parts. `advance` does one slice of work, less than a millisecond, and the caller lets other work
run before the next one. Memory does not grow with the body.

The scan does not check that a body is valid JSON: the engine does that. It guarantees less, and that is enough: where
the engine's parser (`json.loads`) reads a body, the scan reads the same values of the wanted fields, or refuses. Of a
key that stands in an object twice the last one counts, as for the engine. Does not know what the fields mean.
"""

import re
from typing import Final

import msgspec

from remuda.gateway.api import problems
from remuda.gateway.api.body.watch import Watch, refuse_embeds, refuse_url, refuse_uuid
from remuda.gateway.api.problems import Refused
from remuda.vllm import client_fields

Span = tuple[int, int]

STRUCTURE_MAX: Final = 500_000
"""Most objects, lists and names that the scan stops at in one body. Each stop costs about a microsecond, so no body
takes more than a second in all; the engine's parser would take longer. 100,000 messages of two parts make 400,000."""

FIELDS_MAX: Final = 1_000
"""Most fields of the outermost object; the largest request class of the engine has 60."""

DEPTH_MAX: Final = 256
"""Deepest nesting. The engine's parser gives up at about 900; schemas of tools nest to a few dozen."""

CHUNK_BYTES: Final = 16 * 1024
"""What one call of a regular expression may look at: at most 0.25 ms on a slow core."""

WORK: Final = 2 * CHUNK_BYTES
"""Work of one slice, in bytes looked at by a regular expression."""

_STEP_WORK: Final = 256
"""What one step costs besides, in the same unit."""

_FIND_BYTES: Final = 16
"""Bytes that `find` looks at in the time in which a regular expression looks at one."""

_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_SCALAR: Final = re.compile(rb"[-+.0-9A-Za-z]++")
_ESCAPED: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_INLINE: Final = re.compile(
    rb'"(?:d|\\u0064)(?:a|\\u0061)(?:t|\\u0074)(?:a|\\u0061)(?::|\\u003[aA])'  # "data:", each letter spelt either way
)
_KEY_BEFORE: Final = re.compile(rb'("(?:[^"\\]|\\.)*")[ \t\r\n]*:[ \t\r\n]*\Z', re.DOTALL)
_decode_text = msgspec.json.Decoder(str).decode

# What comes next.
_START: Final = 0
_KEY_OR_END: Final = 1
_KEY: Final = 2
_COLON: Final = 3
_VALUE: Final = 4
_COMMA: Final = 5
_ELEMENT_OR_END: Final = 6
_ELEMENT: Final = 7
_SKIP: Final = 8
_AFTER_NAME: Final = 9
_NAMED_VALUE: Final = 10
_IN_STRING: Final = 11
_IN_SCALAR: Final = 12
_END: Final = 13

# What a string is, once it has ended.
_IS_KEY: Final = 0
_IS_VALUE: Final = 1
_IS_SKIPPED: Final = 2

# What is known about an open object or list.
_OBJECT: Final = 1
_MEMBERS: Final = 2
"""An object that is walked key by key."""
_ELEMENTS: Final = 4
"""A list whose elements are recorded."""
_ADDRESS: Final = 8
"""The object under a key like `image_url`: its `url` is an address."""
_HAS_MEDIA: Final = 16
_HAS_UUID: Final = 32


class Scan:
    """One body on its way. `spans` are filled when `advance` has returned True."""

    __slots__ = (
        "_at", "_body", "_chunk", "_containers", "_element_start", "_escaped", "_field", "_fields", "_key", "_name",
        "_name_start", "_position", "_role", "_size", "_state", "_string_start", "_structure", "_value_start",
        "_watch", "elements", "first", "is_empty", "other", "spans", "work",
    )  # fmt: skip

    def __init__(self, body: bytes, watch: Watch, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._body = body
        self._size = len(body)
        self._watch = watch
        self._chunk = chunk_bytes
        self._position = 0
        self._state = _START
        self._containers: list[int] = []
        self._structure = self._fields = 0
        self._field = self._key = self._name = b""
        self._name_start = self._value_start = self._element_start = 0
        self._string_start = self._at = 0
        self._escaped = False
        self._role = _IS_KEY
        self.work = 0
        """Work done so far, all slices together."""
        self.spans: dict[str, Span] = {}
        """Where the value of each wanted field stands; of its last value when the key stands there twice."""
        self.elements: list[Span] = []
        """Where the elements of the recorded list stand."""
        self.first = 0
        """Where the first key of the outermost object would stand."""
        self.is_empty = False
        """The outermost object has no key."""
        self.other: Span | None = None
        """Where the first key of the outermost object stands that is not a wanted field, with its quotes."""

    def advance(self) -> bool:
        """Do one slice of work. True when the whole body is read. Refused when the body cannot be read."""
        end = self.work + WORK
        while self.work < end:
            if self._state == _SKIP:
                self._skip()
            elif self._state == _IN_STRING:
                self._read_string()
            elif self._state == _IN_SCALAR:
                self._read_scalar()
            elif not self._skip_space():
                continue
            elif self._position == self._size:
                if self._state != _END:
                    raise _refuse("it ends too early")
                return True
            else:
                self._take(self._body[self._position])
        return False

    # ---- grammar of what is walked

    def _skip_space(self) -> bool:
        """Move to the next byte that is not white space. False when a chunk was not enough."""
        start = self._position
        match = _SPACE.match(self._body, start, min(start + self._chunk, self._size))
        assert match is not None
        end = match.end()
        self._position = end
        self.work += _STEP_WORK + end - start
        return end - start < self._chunk or end == self._size

    def _take(self, byte: int) -> None:
        """Go on with the byte at the current position, which is not white space."""
        state = self._state
        if state in (_KEY, _KEY_OR_END):
            self._take_key(byte)
        elif state == _COLON:
            if byte != 0x3A:
                raise _refuse("a key is not followed by a colon")
            self._position += 1
            self._state = _VALUE
        elif state == _VALUE:
            self._take_value(byte)
        elif state == _COMMA:
            self._take_comma(byte)
        elif state == _AFTER_NAME:
            self._take_after_name(byte)
        elif state == _NAMED_VALUE:
            self._take_named_value(byte)
        elif state == _START:
            self._take_start(byte)
        elif state == _END:
            raise _refuse("something follows the object")
        else:
            self._take_element(byte)

    def _take_start(self, byte: int) -> None:
        if b"\0" in self._body[:4]:
            raise Refused(problems.invalid_json("it is not UTF-8"))
        if byte == 0x7B:
            self._open(_OBJECT | _MEMBERS)
            self.first = self._position
        elif byte == 0x5B and self._watch.list_field == "":
            self._open(_ELEMENTS)
        else:
            raise Refused(problems.ASK_FOR_OBJECT)

    def _take_key(self, byte: int) -> None:
        if byte == 0x22:
            self._begin_string(_IS_KEY)
        elif byte == 0x7D and self._state == _KEY_OR_END:
            self.is_empty = self.is_empty or len(self._containers) == 1
            self._close(byte)
        else:
            raise _refuse("a key is expected")

    def _take_value(self, byte: int) -> None:
        """The value of a key in an object that is walked key by key."""
        outermost = len(self._containers) == 1
        is_address = self._meet(self._key, byte) if self._key in self._watch.names else False
        if outermost:
            self._value_start = self._position
        if byte == 0x22:
            if self._key == b"url" and self._containers[-1] & _ADDRESS:
                self._check_address()
            self._begin_string(_IS_VALUE)
        elif byte == 0x7B:
            self._open(_OBJECT | _MEMBERS | _ADDRESS if is_address else _OBJECT)
        elif byte == 0x5B:
            wanted = self._watch.list_field
            recorded = outermost and wanted is not None and self._watch.fields.get(self._field) == wanted
            if recorded:
                self.elements.clear()
            self._open(_ELEMENTS if recorded else 0)
        else:
            self._state = _IN_SCALAR

    def _take_element(self, byte: int) -> None:
        """An element of a list whose elements are recorded."""
        watch = self._watch
        if byte == 0x5D and self._state == _ELEMENT_OR_END:
            self._close(byte)
            return
        if len(self.elements) > watch.most_elements or (watch.numbers_are_one and byte not in b'"[{'):
            self._containers[-1] &= ~_ELEMENTS  # enough is known: skip the others
            self.elements.append((self._position, self._position))
            self._state = _SKIP
            return
        self._element_start = self._position
        if byte == 0x22:
            self._begin_string(_IS_VALUE)
        elif byte == 0x7B:
            self._open(_OBJECT)
        elif byte == 0x5B:
            self._open(0)
        else:
            self._state = _IN_SCALAR

    def _take_comma(self, byte: int) -> None:
        if byte == 0x2C:
            self._position += 1
            self._state = _KEY if self._containers[-1] & _OBJECT else _ELEMENT
        else:
            self._close(byte)

    def _end_value(self) -> None:
        """A value that is walked ends at the current position."""
        if self._containers[-1] & _ELEMENTS:
            self.elements.append((self._element_start, self._position))
        elif len(self._containers) == 1:
            field = self._watch.fields.get(self._field)
            if field is not None:
                self.spans[field] = (self._value_start, self._position)
        self._state = _COMMA

    def _open(self, container: int) -> None:
        self._count_structure()
        if len(self._containers) == DEPTH_MAX:
            raise _refuse("it is nested too deeply")
        self._containers.append(container)
        self._position += 1
        if container & _MEMBERS:
            self._state = _KEY_OR_END
        else:
            self._state = _ELEMENT_OR_END if container & _ELEMENTS else _SKIP

    def _close(self, byte: int) -> None:
        if byte != (0x7D if self._containers[-1] & _OBJECT else 0x5D):
            raise _refuse("a bracket is not closed by its like, or a comma is missing")
        self._containers.pop()
        self._position += 1
        if not self._containers:
            self._state = _END
        elif self._containers[-1] & (_MEMBERS | _ELEMENTS):
            self._end_value()
        else:
            self._state = _SKIP

    def _count_structure(self) -> None:
        self._structure += 1
        if self._structure > STRUCTURE_MAX:
            raise Refused(problems.body_too_complex(f"{STRUCTURE_MAX} lists, objects and names in it"))

    # ---- what is skipped

    def _skip(self) -> None:
        """Skip up to the next bracket or to a string that must be looked at."""
        start = self._position
        limit = min(start + self._chunk, self._size)
        match = self._watch.skip.match(self._body, start, limit)
        assert match is not None
        end = match.end()
        self.work += _STEP_WORK + end - start
        self._position = end
        if end == self._size:
            raise _refuse("it ends too early")
        if end == limit:
            return
        byte = self._body[end]
        if byte == 0x22:
            self._begin_string(_IS_SKIPPED)
        elif byte == 0x7B:
            self._open(_OBJECT)
        elif byte == 0x5B:
            self._open(0)
        else:
            self._close(byte)

    def _take_after_name(self, byte: int) -> None:
        """A string among the names has ended: is it a key?"""
        if byte == 0x3A:
            self._position += 1
            self._state = _NAMED_VALUE
            return
        if self._is_type():
            self._check_type(self._name.decode())
        self._state = _SKIP

    def _take_named_value(self, byte: int) -> None:
        """The value of such a key: only an object with an address in it is walked."""
        if self._meet(self._name, byte) and byte == 0x7B:
            self._open(_OBJECT | _MEMBERS | _ADDRESS)
        else:
            self._state = _SKIP

    # ---- strings and scalars

    def _begin_string(self, role: int) -> None:
        self._role = role
        self._string_start = self._position
        self._at = self._position + 1
        self._escaped = False
        self._state = _IN_STRING

    def _read_string(self) -> None:
        """Look for the end of a string. Long strings without escapes are the common case: media."""
        at = self._at
        end = min(at + self._chunk * _FIND_BYTES, self._size)
        if self._escaped:
            self._read_escaped(at)
            return
        quote = self._body.find(b'"', at, end)
        stop = end if quote < 0 else quote
        backslash = self._body.find(b"\\", at, stop)
        self.work += _STEP_WORK + (stop - at) // _FIND_BYTES
        if backslash >= 0:
            self._escaped = True
            self._at = backslash
        elif quote >= 0:
            self._end_string(quote + 1)
        elif end == self._size:
            raise _refuse("a text in it does not end")
        else:
            self._at = end

    def _read_escaped(self, at: int) -> None:
        limit = min(at + max(self._chunk, 2), self._size)
        match = _ESCAPED.match(self._body, at, limit)
        assert match is not None
        end = match.end()
        self.work += _STEP_WORK + end - at
        if end < limit and self._body[end] == 0x22:
            self._end_string(end + 1)
        elif end in (at, self._size):
            raise _refuse("a text in it does not end")
        else:
            self._at = end

    def _end_string(self, end: int) -> None:
        self._position = end
        if self._role == _IS_VALUE:
            if self._key == b"type" and self._containers[-1] & _ADDRESS:
                self._check_type(self._decode_name(end).decode())
            self._end_value()
            return
        name = self._decode_name(end)
        if self._role == _IS_SKIPPED:
            self._name = name
            self._name_start = self._string_start
            known = name in self._watch.names
            if known or self._escaped:
                self._count_structure()
            self._state = _AFTER_NAME if known else _SKIP
            return
        self._key = name
        if len(self._containers) == 1:
            self._field = name
            self._fields += 1
            if self.other is None and name not in self._watch.fields:
                self.other = (self._string_start, end)
            if self._fields > FIELDS_MAX:
                raise Refused(problems.body_too_complex(f"{FIELDS_MAX} fields"))
        else:
            self._count_structure()
        self._state = _COLON

    def _decode_name(self, end: int) -> bytes:
        """The string that ends here, when it is short enough to be a wanted key."""
        start = self._string_start
        if end - start > self._watch.longest:
            return b""
        if not self._escaped:
            return self._body[start + 1 : end - 1]
        try:
            return _decode_text(self._body[start:end]).encode()
        except (msgspec.MsgspecError, UnicodeError):
            return b""

    def _read_scalar(self) -> None:
        """A number, true, false or null; its letters are not checked."""
        start = self._position
        limit = min(start + self._chunk, self._size)
        match = _SCALAR.match(self._body, start, limit)
        end = start if match is None else match.end()
        self.work += end - start
        self._position = end
        if end < limit or end == self._size:
            self._end_value()

    # ---- media

    def _meet(self, name: bytes, byte: int) -> bool:
        """A key that matters at any depth, and the first byte of its value. True when an object may hold an address."""
        media = self._watch.media
        assert media is not None
        key = name.decode()
        is_null = self._body.startswith(b"null", self._position)
        if key == client_fields.SOURCE_KEY:
            return media.check_urls
        if key == client_fields.UUID_KEY:
            if not is_null:
                self._containers[-1] |= _HAS_UUID
        else:
            self._containers[-1] |= _HAS_MEDIA
        if key in media.denied_embeds and not is_null and len(self._containers) > 1:
            raise refuse_embeds(key)
        if media.check_uuids and self._containers[-1] & (_HAS_UUID | _HAS_MEDIA) == _HAS_UUID | _HAS_MEDIA:
            raise refuse_uuid()
        if not media.check_urls or key not in client_fields.ADDRESS_KEYS:
            return False
        if byte == 0x22:
            self._check_address()
        return True

    def _check_address(self) -> None:
        """The string at the current position must be an inline address."""
        if _INLINE.match(self._body, self._position) is None:
            shown = self._body[self._position + 1 : self._position + 90].partition(b'"')[0]
            raise refuse_url(shown.decode("utf-8", "replace"))

    def _check_type(self, kind: str) -> None:
        """A part by this `type` must not be one of raw tensors."""
        media = self._watch.media
        if media is not None and kind in media.denied_embeds:
            raise refuse_embeds(kind)

    def _is_type(self) -> bool:
        """Whether the string that was just skipped is the value of a key `type`; when in doubt, it is."""
        start = self._name_start
        before = self._body[max(0, start - 80) : start]
        if not before.rstrip(b" \t\r\n").endswith(b":") and before.strip(b" \t\r\n"):
            return False
        match = _KEY_BEFORE.search(before)
        try:
            return match is None or _decode_text(match[1]) == "type"
        except (msgspec.MsgspecError, UnicodeError):
            return True


def _refuse(detail: str) -> Refused:
    return Refused(problems.invalid_json(detail))
