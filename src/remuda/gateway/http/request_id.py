"""The id of a request: the client's own if it is short and plain, else a new one.

Does not know what the id is used for.
"""

import os
import re
from itertools import count
from typing import Final

_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}\Z")

_process: Final = b"req-" + os.urandom(6).hex().encode() + b"-%x"
_counter: Final = count(1)


def take_request_id(sent: bytes | None) -> bytes:
    """The client's id if it is plain, else a new one that is unique across processes."""
    if sent is None or _SANE_ID.match(sent) is None:
        return _process % next(_counter)
    return sent
