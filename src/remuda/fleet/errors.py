"""Errors of the fleet of this machine, in words that a user can act on.

FleetError
├── FleetRunningError     this home already has a running fleet
└── FleetAbsentError      no fleet runs, or the one that ran is gone
"""

from remuda.errors import RemudaError


class FleetError(RemudaError):
    """The fleet cannot start or cannot go on."""


class FleetRunningError(FleetError):
    """This home already has a running fleet; one REMUDA_HOME holds one fleet."""


class FleetAbsentError(FleetError):
    """No fleet runs here."""
