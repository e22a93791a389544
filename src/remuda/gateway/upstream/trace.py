"""W3C trace context of requests to engines: the client's trace goes on, or a new one begins.

Does not know what tracing backend there is.
"""

import os
import re
from random import Random
from typing import Final

_TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")
_ZERO_TRACE: Final = b"0" * 32
_ZERO_SPAN: Final = b"0" * 16

_random_bits: Final = Random(os.urandom(32)).getrandbits  # noqa: S311 - ids, not secrets; 20 times faster


def continue_trace(sent: bytes | None) -> bytes:
    """The traceparent for the engine: the client's trace with a new parent id, or a new trace."""
    if sent is not None:
        match = _TRACEPARENT.match(sent)
        if match is not None and match[1] != _ZERO_TRACE and match[2] != _ZERO_SPAN:
            return b"00-%b-%016x-%b" % (match[1], _random_bits(64) or 1, match[3])
    return b"00-%032x-%016x-01" % (_random_bits(128) or 1, _random_bits(64) or 1)
