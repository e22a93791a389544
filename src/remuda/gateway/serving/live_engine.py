"""One engine as it is known right now: its description, its connections, its load, its health.

Does not know which requests it serves and does not decide anything: `policy` judges and picks.
"""

from time import monotonic

from remuda.gateway.table import Endpoint
from remuda.gateway.upstream.pool import Address, Pool, PoolLimits
from remuda.policy.health import Health, State
from remuda.policy.route import EndpointLoad


class LiveEngine:
    """One engine. It survives new tables as long as its address stays the same."""

    __slots__ = (
        "draining",
        "ejections",
        "endpoint",
        "health",
        "hung",
        "load",
        "measured_at",
        "model_name",
        "pool",
        "pristine",
        "supervised",
    )

    def __init__(self, endpoint: Endpoint, limits: PoolLimits) -> None:
        now_at = monotonic()
        self.load = EndpointLoad()
        self.health = Health(State.HEALTHY, now_at)
        self.pristine = True
        """Healthy and without recent faults: a good answer changes nothing, so health need not hear of it."""
        self.hung = False
        """It has stopped working although it answers health checks."""
        self.ejections = 0
        self.measured_at = now_at
        self.pool = Pool(address_of(endpoint), limits)
        self._describe(endpoint)

    @property
    def state_name(self) -> str:
        """The state that metrics show."""
        return "draining" if self.draining else self.health.state.value

    def is_at(self, endpoint: Endpoint) -> bool:
        """Whether this description means the engine at the same address."""
        return address_of(self.endpoint).is_same_place(address_of(endpoint))

    def change(self, endpoint: Endpoint) -> None:
        """Take over a changed description of the same engine."""
        self.pool.change_address(address_of(endpoint))
        self._describe(endpoint)

    def _describe(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.draining = endpoint.state == "draining"
        self.supervised = endpoint.supervised
        self.model_name = endpoint.upstream_model


def address_of(endpoint: Endpoint) -> Address:
    """The part of an endpoint's description that its connections need."""
    return Address(
        endpoint.id, endpoint.host, endpoint.port, endpoint.tls, endpoint.path_prefix, endpoint.api_key or ""
    )
