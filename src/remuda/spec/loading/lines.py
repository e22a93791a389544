"""Reads a file as text, and converts offsets into line and column as an editor counts them, both from 1.

Text that is not UTF-8, is too large or contains forbidden characters is refused with a reason. A line ends only at a
line feed. This module does not know YAML.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from pathlib import Path

from remuda.spec.problem import Place, Problem

MAX_FILE_BYTES = 4 * 2**20
"""Far more than any real file has. Reading takes at most about a hundred times this size in memory."""

# The characters that YAML 1.2 allows (section 5.1), without U+0085 and U+2028/9: YAML counts these as line ends, and
# editors do not.
_NOT_ALLOWED = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


class Lines:
    """The text of one file, and the offsets of its lines."""

    __slots__ = ("_starts", "name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, index: int) -> Place:
        """The position of the character at `index`, or of the end of the text if `index` lies behind it."""
        index = max(0, min(index, len(self.text)))
        line = bisect_right(self._starts, index)
        return Place(self.name, line, index - self._starts[line - 1] + 1)


def read_file(path: Path) -> bytes | Problem:
    """The bytes of a file, or the problem that prevents reading it."""
    try:
        size = path.stat().st_size
        if size <= MAX_FILE_BYTES:
            with path.open("rb") as file:
                return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return Problem((), "no such file", _hint_missing(path), place=Place(str(path), 1, 1))
    except IsADirectoryError:
        return Problem((), "is a folder", "name the files in it", place=Place(str(path), 1, 1))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        return Problem((), f"cannot be read: {reason}", place=Place(str(path), 1, 1))
    return _too_large(str(path), size)


def decode(name: str, data: bytes) -> Lines | Problem:
    """The text of a file, or the problem that makes it unreadable."""
    if len(data) > MAX_FILE_BYTES:
        return _too_large(name, len(data))
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return Problem((), "is UTF-16 text", "save it as UTF-8", place=Place(name, 1, 1))
    try:
        return check_text(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        place = Lines(name, before).place(len(before))
        hint = "save the file as UTF-8" if b"\0" not in data[:1024] else "this looks like a binary file"
        return Problem((), f"byte 0x{data[error.start]:02x} is not UTF-8 text", hint, place=place)


def check_text(name: str, text: str) -> Lines | Problem:
    """The text with its line table, or the problem of its first forbidden character."""
    text = text.removeprefix("\ufeff")
    lines = Lines(name, text)
    if len(text) > MAX_FILE_BYTES:
        return _too_large(name, len(text))
    if bad := _NOT_ALLOWED.search(text):
        code = ord(bad[0])
        what = "NUL character" if code == 0 else f"character U+{code:04X}"
        return Problem(
            (),
            f"{what} is not allowed",
            "remove it, or write it as an escape in double quotes",
            place=lines.place(bad.start()),
        )
    return lines


def _too_large(name: str, size: int) -> Problem:
    limit = MAX_FILE_BYTES // 2**20
    return Problem(
        (), f"is too large ({size / 2**20:.1f} MiB)", f"a file may have {limit} MiB; split it", place=Place(name, 1, 1)
    )


def _hint_missing(path: Path) -> str:
    from difflib import get_close_matches
    from itertools import islice

    try:
        siblings = [
            entry.name for entry in islice(path.parent.iterdir(), 1000) if entry.suffix in {".yaml", ".yml", ".json"}
        ]
    except OSError:
        return f"the folder {path.parent} cannot be read"
    near = get_close_matches(path.name, siblings, 1)
    return f"did you mean {path.parent / near[0]}?" if near else "check the path"
