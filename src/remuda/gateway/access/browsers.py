"""What a web page may do to a gateway that asks for no keys. Pure.

A browser sends requests for any page its user opens. Two tricks let a foreign page use an engine on the user's own
machine: it posts to http://127.0.0.1 (the browser sends the request, although the page cannot read the answer), or it
makes its own name resolve to 127.0.0.1 (DNS rebinding), so that the gateway looks like the page's own server. The first
shows in the Origin header, the second in the Host header. A gateway that asks for keys needs neither check: the page
does not have the key.

Browsers send the Origin with every POST (Fetch standard, "append a request Origin header"). They omit it when a user
follows a link, and a link may lead here: no page that GET reaches changes anything. So Sec-Fetch-Site is not looked at.
"""

import re
from collections.abc import Collection
from typing import Final

_LOOPBACK_HOST: Final = re.compile(
    rb"(?:(?:(?:[a-z0-9-]+\.)*localhost|127(?:\.[0-9]{1,3}){3})\.?|\[::1\])(?::[0-9]{1,5})?\Z", re.IGNORECASE
)


def is_loopback_host(host: bytes) -> bool:
    """Whether a Host header names this machine itself: `localhost`, `127.0.0.1:8080`, `[::1]`."""
    return _LOOPBACK_HOST.match(host) is not None


def is_own_origin(origin: bytes, host: bytes | None, allowed: Collection[bytes]) -> bool:
    """Whether a page of this Origin may send requests: it is allowed, or it was served under the same Host."""
    if origin in allowed or b"*" in allowed:
        return True
    authority = origin.partition(b"://")[2]
    return bool(authority) and host is not None and authority.lower() == host.lower()
