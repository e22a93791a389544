"""Resolves an unquoted YAML scalar to text, a number, true, false or null.

It follows `kubectl`, which reads YAML 1.1 as Go's library does, so that a file means the same on a laptop and in a
cluster. It does not know the structure around a scalar.
"""

from __future__ import annotations

import re
from math import isinf

Scalar = str | int | float | bool | None

_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"})
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_INTEGER = re.compile(r"[-+]?[0-9][0-9_]{0,19}")
_PREFIXED = re.compile(r"([-+]?)0([xob])([0-9a-fA-F_]{1,16})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]{1,4})?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BASES = {"x": 16, "o": 8, "b": 2}


def resolve_plain(text: str) -> Scalar:
    """The value of an unquoted scalar. As in kubectl, `no` is False and `1:30` is text."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text[0] not in "+-.0123456789":
        return text
    return _resolve_number(text)


def _resolve_number(text: str) -> Scalar:
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("+-")
        octal = len(digits) > 1 and digits[0] == "0" and not set(digits) & {"8", "9"}
        return int(text.replace("_", ""), 8 if octal else 10)
    if (match := _PREFIXED.fullmatch(text)) and match[3].strip("_"):
        try:
            return int(match[1] + match[3].replace("_", ""), _BASES[match[2]])
        except ValueError:
            return text
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    if _FLOAT.fullmatch(text):
        number = float(text.replace("_", ""))
        return text if isinf(number) else number
    return text


def describe(value: object) -> str:
    """The kind of a value, in words for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {str: "text", int: "a number", float: "a number", dict: "a mapping", list: "a list"}
    return names.get(type(value), "something else")
