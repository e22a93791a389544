"""Amounts with a unit: memory (`64Mi`), processor cores (`500m`) and durations (`1h30m`).

Each type is a number that code can compute with. It also keeps the text from the file, so that writing it back does not
change the file. The types do not know their bounds; those belong to the field (`AtLeast`, `AtMost`).
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
SECONDS = {"ms": Fraction(1, 1000), "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600)}

_NUMBER = r"(0\.[0-9]{0,5}[1-9]|[1-9][0-9]{0,14}(\.[0-9]{1,6})?)"
BYTES_PATTERN = rf"^{_NUMBER}(Ki|Mi|Gi|Ti|k|M|G|T)?$"
CORES_PATTERN = r"^([1-9][0-9]{0,6}m|0\.[0-9]{0,2}[1-9]|[1-9][0-9]{0,3}(\.[0-9]{1,3})?)$"
DURATION_PATTERN = r"^([0-9]{1,7}(ms|s|m|h)){1,4}$"

# Wrong units that people write, and the unit they mean. They are used only for hints.
_BYTES_MEANT = {
    "": "", "b": "", "byte": "", "bytes": "", "kb": "k", "mb": "M", "gb": "G", "tb": "T", "kib": "Ki", "mib": "Mi",
    "gib": "Gi", "tib": "Ti", "ki": "Ki", "mi": "Mi", "gi": "Gi", "ti": "Ti", "k": "k", "m": "M", "g": "G", "t": "T",
}  # fmt: skip
_DURATION_MEANT = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "hr": "h", "hrs": "h", "hour": "h", "hours": "h", "msec": "ms", "millis": "ms", "milliseconds": "ms",
    "s": "s", "m": "m", "h": "h", "ms": "ms",
    "day": "d", "days": "d", "d": "d",
}  # fmt: skip


class _Amount:
    """Base of the three types: a number that keeps the text from the file."""

    text: str
    pattern: ClassVar[str]
    unit: ClassVar[str]
    example: ClassVar[str]
    integers: ClassVar[bool] = True
    """Whether a plain whole number is accepted too, as Kubernetes accepts it."""

    def __getnewargs__(self) -> tuple[str]:
        return (self.text,)

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._read, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.text)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: object, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        text = {"type": "string", "pattern": cls.pattern, "maxLength": 32}
        return {"anyOf": [{"type": "integer", "minimum": 1}, text]} if cls.integers else text

    @classmethod
    def _read(cls, value: object) -> object:
        if isinstance(value, cls):
            return value
        if isinstance(value, str) or (cls.integers and type(value) is int and 0 < value < 2**53):
            with contextlib.suppress(ValueError):
                return cls(value)  # type: ignore[call-arg]
        raise PydanticCustomError("amount", "not {noun}", {"noun": NOUNS[cls], "hint": hint_amount(cls, value)})


class Bytes(_Amount, int):  # type: ignore[misc]
    """An amount of memory or storage. The number is bytes, rounded up."""

    pattern = BYTES_PATTERN
    unit = "bytes"
    example = "64Mi"

    def __new__(cls, text: str | int) -> Self:
        self = int.__new__(cls, text if isinstance(text, int) else parse_bytes(text))
        self.text = str(text)
        return self


class Cores(_Amount, float):  # type: ignore[misc]
    """An amount of processor. The number is cores; `500m` is half a core."""

    pattern = CORES_PATTERN
    unit = "cores"
    example = "4"

    def __new__(cls, text: str | int) -> Self:
        self = float.__new__(cls, text if isinstance(text, int) else parse_cores(text))
        self.text = str(text)
        return self


class Duration(_Amount, float):  # type: ignore[misc]
    """A length of time. The number is seconds."""

    pattern = DURATION_PATTERN
    unit = "duration"
    example = "30s"
    integers = False

    def __new__(cls, text: str) -> Self:
        self = float.__new__(cls, parse_duration(text))
        self.text = text
        return self


def parse_bytes(text: str) -> int:
    """`"64Mi"` → 67108864. Raises ValueError when it is not a Kubernetes quantity of bytes."""
    if not re.fullmatch(BYTES_PATTERN, text):
        raise ValueError(text)
    number = text.rstrip("KMGTik")
    return ceil(Fraction(number) * (BINARY | DECIMAL)[text[len(number) :]])


def parse_cores(text: str) -> float:
    """`"500m"` → 0.5. Raises ValueError when it is not a Kubernetes quantity of cores."""
    if not re.fullmatch(CORES_PATTERN, text):
        raise ValueError(text)
    return float(Fraction(text[:-1]) / 1000 if text.endswith("m") else Fraction(text))


def parse_duration(text: str) -> float:
    """`"1h30m"` → 5400.0 (seconds). Raises ValueError when it is not a duration."""
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(text)
    return float(sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"([0-9]+)(ms|s|m|h)", text)))


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The smallest amount that a field accepts, as text. Use it as field metadata: `Annotated[Duration,
    AtLeast("1s")]`."""

    text: str

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return _bound_schema(self.text, source, handler, least=True)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"x-at-least": self.text}


@dataclass(frozen=True, slots=True)
class AtMost:
    """The largest amount that a field accepts, as text."""

    text: str

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return _bound_schema(self.text, source, handler, least=False)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"x-at-most": self.text}


def _bound_schema(text: str, source: type, handler: GetCoreSchemaHandler, *, least: bool) -> core_schema.CoreSchema:
    bound = source(text)

    def check(value: float) -> float:
        if value < bound if least else value > bound:
            words = "at least" if least else "at most"
            raise PydanticCustomError("amount_bound", "must be {words} {bound}", {"words": words, "bound": text})
        return value

    return core_schema.no_info_after_validator_function(check, handler(source))


NOUNS: dict[type, str] = {
    Bytes: "an amount of memory",
    Cores: "an amount of processor cores",
    Duration: "a duration",
}
_EXPLAIN: dict[type, str] = {
    Bytes: "write a number with Ki, Mi, Gi, Ti (powers of 1024) or k, M, G, T (powers of 1000), for example 64Mi",
    Cores: "write whole cores (4) or thousandths of a core (500m)",
    Duration: "write whole numbers with h, m, s or ms, for example 30s, 10m or 1h30m",
}


def hint_amount(kind: type, value: object) -> str:
    """The text to write instead of `value`, as exact as it can be guessed."""
    text = str(value).strip()
    match = re.fullmatch(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)\s*([A-Za-z]*)", text)
    if match and not isinstance(value, bool):
        hint = _hint_number(kind, match[1], match[2])
        return (
            hint
            if all(_is_amount(kind, text) for text in re.findall(r"\b(?:mean|or) ([0-9]\S*?)[ ?]", hint))
            else _EXPLAIN[kind]
        )
    if kind is Duration and re.fullmatch(r"[0-9]{1,2}:[0-9]{1,2}", text):
        first, second = text.split(":")
        first, second = str(int(first)), str(int(second))
        return f"write {first}m{second}s (minutes and seconds) or {first}h{second}m (hours and minutes)"
    return _EXPLAIN[kind]


def _hint_number(kind: type, number: str, unit: str) -> str:
    """The amount that was probably meant by a number with a wrong unit."""
    number = _trim(number)
    if kind is Duration:
        return _hint_duration(number, unit.lower())
    if not Fraction(number):
        return "must be more than zero; leave the field out for the default"
    if kind is Bytes and unit.lower() in _BYTES_MEANT:
        return _hint_bytes(number, unit, _BYTES_MEANT[unit.lower()])
    if kind is Cores and unit.lower() in {"", "core", "cores", "cpu", "cpus"}:
        return f"did you mean {_cores_text(Fraction(number))}?"
    return _EXPLAIN[kind]


def _trim(number: str) -> str:
    """The number without leading and trailing zeros: `007.50` → `7.5`."""
    whole, _, rest = number.partition(".")
    return (whole.lstrip("0") or "0") + (f".{rest.rstrip('0')}" if rest.rstrip("0") else "")


def _is_amount(kind: type, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _hint_bytes(number: str, written: str, meant: str) -> str:
    if len(meant) == 1 and meant != written:
        binary = f"{number}{meant.upper()}i"
        return f"did you mean {binary} (powers of 1024) or {number}{meant} (powers of 1000)?"
    return f"did you mean {number}{meant}?"


def _hint_duration(number: str, unit: str) -> str:
    meant = _DURATION_MEANT.get(unit)
    amount = Fraction(number)
    if meant is None:
        return (
            f"say the unit: {number}s, {number}m or {number}h"
            if not unit and amount.denominator == 1
            else _EXPLAIN[Duration]
        )
    if meant == "d":
        amount, meant = amount * 24, "h"
    while amount.denominator != 1 and meant != "ms":
        meant, amount = {"h": ("m", amount * 60), "m": ("s", amount * 60), "s": ("ms", amount * 1000)}[meant]
    return f"did you mean {int(amount)}{meant}?" if amount.denominator == 1 else _EXPLAIN[Duration]


def _cores_text(cores: Fraction) -> str:
    return str(cores) if cores.denominator == 1 else f"{ceil(cores * 1000)}m"
