"""How many wrong API keys an address may send.

There is a token bucket per address. It refuses only wrong keys: behind a load balancer all clients share one address,
and a client with a good key must not pay for its neighbour. IPv6 addresses with the same first 64 bits count as one,
because every subscriber has that many. Memory is bounded: the address that sent its last wrong key longest ago is
forgotten first. The module does not know keys.
"""

import ipaddress
from typing import Final

_BURST: Final = 20.0
"""Wrong keys in a row before an address is slowed down: a deployment with an old key in it restarts a few times."""
_PER_S: Final = 1.0
"""Wrong keys per second after that."""
_ADDRESSES: Final = 4096
"""Addresses remembered."""


class Guesses:
    """Wrong keys by address."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}
        """address → (wrong keys it may still send, when that was counted), the one counted last at the end."""

    def count(self, address: str, now_at: float) -> bool:
        """One more wrong key came from `address`; whether that is still within its bound."""
        source = _source_of(address)
        left, counted_at = self._left.pop(source, (_BURST, now_at))
        left = min(_BURST, left + (now_at - counted_at) * _PER_S)
        within = left >= 1.0
        self._left[source] = (left - 1.0 if within else left, now_at)
        if len(self._left) > _ADDRESSES:
            del self._left[next(iter(self._left))]
        return within


def _source_of(address: str) -> str:
    """The part of an address that its holder cannot choose."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped
    return parsed.packed[:8].hex(":", 2) if mapped is None else str(mapped)
