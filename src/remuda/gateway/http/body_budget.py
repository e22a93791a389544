"""The memory that request bodies may take: bounded for all clients together, and for each client.

Only bytes that have arrived are counted, so a head that promises 50 MiB and sends nothing takes nothing from others.
Does not know who a client is: the caller names it (a tenant, or an address when no key is asked for).
"""

from remuda.gateway.http.refusal import Reason


class BodyBudget:
    """Counts bytes. One per listener."""

    def __init__(self, total_bytes: int, client_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._client_bytes = client_bytes
        self._by_client: dict[str, int] = {}
        self.held_bytes = 0

    def take(self, client: str, size: int) -> Reason | None:
        """Count `size` more bytes for `client`; the reason when that would be too much, and then nothing is counted."""
        if self.held_bytes + size > self._total_bytes:
            return Reason.BODIES_FULL
        held = self._by_client.get(client, 0) + size
        if held > self._client_bytes:
            return Reason.CLIENT_BODIES_FULL
        self._by_client[client] = held
        self.held_bytes += size
        return None

    def give_back(self, client: str, size: int) -> None:
        """The bytes of a request that has ended."""
        self.held_bytes -= size
        left = self._by_client[client] - size
        if left:
            self._by_client[client] = left
        else:
            del self._by_client[client]
