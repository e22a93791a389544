"""W3C trace context of requests to engines: the client's trace goes on, or a new one begins.

Does not know what tracing backend there is.
"""

import os
import re
from binascii import hexlify
from typing import Final

_TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")
_TRACE_DIGITS: Final = 32
_SPAN_DIGITS: Final = 16
_ZERO_TRACE: Final = b"0" * _TRACE_DIGITS
_ZERO_SPAN: Final = b"0" * _SPAN_DIGITS
_STOCK_BYTES: Final = 4096
"""Random bytes fetched at once: to make digits for each request alone costs six times as much."""


class _RandomDigits:
    """A stock of random hexadecimal digits, each used once. An id of zeros would be invalid; its chance is 2^-64."""

    def __init__(self) -> None:
        self._stock = b""
        self._used = 0

    def take(self, count: int) -> bytes:
        start = self._used
        end = start + count
        if end > len(self._stock):
            self._stock = hexlify(os.urandom(_STOCK_BYTES))
            start, end = 0, count
        self._used = end
        return self._stock[start:end]


_digits: Final = _RandomDigits()


def continue_trace(sent: bytes | None) -> bytes:
    """The traceparent for the engine: the client's trace with a new parent id, or a new trace."""
    if sent is not None:
        match = _TRACEPARENT.match(sent)
        if match is not None and match[1] != _ZERO_TRACE and match[2] != _ZERO_SPAN:
            return b"00-%b-%b-%b" % (match[1], _digits.take(_SPAN_DIGITS), match[3])
    return b"00-%b-%b-01" % (_digits.take(_TRACE_DIGITS), _digits.take(_SPAN_DIGITS))
