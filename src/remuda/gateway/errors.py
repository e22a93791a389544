"""What can go wrong before the gateway serves: impossible settings, an address that cannot be had.

Faults of single requests are not exceptions of this kind: they are `exchange.Refusal` and end in an Outcome.
"""

from remuda.errors import RemudaError


class GatewayError(RemudaError):
    """The gateway cannot listen, or was given settings it must not serve with."""
