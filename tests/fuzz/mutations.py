"""Small changes to bytes: of any kind, and of the kinds that HTTP parsers are known to disagree about."""

import re
from collections.abc import Callable, Sequence
from random import Random

Change = Callable[[bytes, Random, list[bytes]], bytes]

_BYTES = b"\0\t\n\x0b\x0c\r !\"#%',-./0123456789:;=?@ABCDEFXYZ[\\]_abcdefxyz{|}~\x7f\x80\x85\xa0\xff"
_NUMBER = re.compile(rb"[0-9]+")
_LINE_ENDS = (b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r\n", b"\r\n ", b"\r\n\t", b"", b"\x0b\r\n", b" \r\n", b"\0\r\n")


def flip(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Another byte at one place."""
    at = _place(data, rng)
    return data[:at] + bytes([rng.choice(_BYTES)]) + data[at + 1 :]


def insert(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """A byte more."""
    at = _place(data, rng)
    return data[:at] + bytes([rng.choice(_BYTES)]) + data[at:]


def drop(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """A few bytes less."""
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 1, 2, 8)) :]


def repeat(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """A piece twice."""
    at = _place(data, rng)
    end = at + rng.randint(1, 40)
    return data[:end] + data[at:end] + data[end:]


def splice(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """The beginning of one input and the end of another."""
    other = rng.choice(others)
    return data[: _place(data, rng)] + other[_place(other, rng) :]


def append(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """One input behind another."""
    return data + rng.choice(others)


def change_number(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """A number in another spelling, or another number."""
    numbers = list(_NUMBER.finditer(data))
    if not numbers:
        return data
    match = rng.choice(numbers)
    digits = match[0]
    value = int(digits[:20])
    spelled = rng.choice(
        (
            b"+" + digits, b"-" + digits, b"0" + digits, b"0x" + digits, digits + b" ", b" " + digits, digits + b"_0",
            digits + b".0", digits + b"e0", b"%d" % (value + 1), b"%d" % max(0, value - 1), b"%x" % value,
            b"%d, %d" % (value, value), digits + b";", b"", b"9" * 25, "٣".encode(), digits * 2,
        )
    )  # fmt: skip
    return data[: match.start()] + spelled + data[match.end() :]


def change_line_end(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Something else where a line ends."""
    ends = [match.start() for match in re.finditer(rb"\r\n", data)]
    if not ends:
        return data
    at = rng.choice(ends)
    return data[:at] + rng.choice(_LINE_ENDS) + data[at + 2 :]


def change_lines(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """A line twice, lost, in another place, or from another input."""
    lines = data.split(b"\r\n")
    at = rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines.insert(rng.randrange(len(lines)), lines[at])
        case 1:
            del lines[at]
        case 2:
            lines.insert(rng.randrange(len(lines)), lines.pop(at))
        case _:
            lines.insert(at, rng.choice(rng.choice(others).split(b"\r\n")))
    return b"\r\n".join(lines)


def change_case(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """A piece in capitals, or in small letters."""
    at = _place(data, rng)
    end = at + rng.randint(1, 12)
    return data[:at] + data[at:end].swapcase() + data[end:]


ANYTHING: tuple[Change, ...] = (flip, insert, drop, repeat, splice, append, change_number, change_case)
LINES: tuple[Change, ...] = (change_line_end, change_lines, change_lines)


def insert_one_of(tokens: Sequence[bytes]) -> Change:
    """A change that puts one of `tokens` somewhere, or at the beginning of a line."""

    def insert_token(data: bytes, rng: Random, others: list[bytes]) -> bytes:
        token = rng.choice(tokens)
        at = _place(data, rng)
        if rng.random() < 0.7:
            line_end = data.find(b"\r\n", at)
            at = line_end + 2 if line_end >= 0 else at
        return data[:at] + token + data[at:]

    return insert_token


def one_of(changes: Sequence[Change]) -> Change:
    """A change that is one of `changes`."""
    return lambda data, rng, others: rng.choice(changes)(data, rng, others)


def _place(data: bytes, rng: Random) -> int:
    return rng.randrange(len(data) + 1)
