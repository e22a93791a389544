"""Composition root of a gateway process: builds every object once, no globals.

`run` is what `remuda gateway FILE` and the process entry (`control`) call. It does not know where tables come from:
it is given a TableSource.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Table


class TableSource(Protocol):
    """Where the table comes from: a file read once, a supervisor's socket, a cluster."""

    def watch(self) -> AsyncIterator[Table]:
        """The table now, then each change. Ending = the source is gone: drain and stop."""
        ...


def run(settings: GatewaySettings, source: TableSource) -> None:
    """Serve until SIGTERM, SIGINT or the end of the source; then drain."""
    raise NotImplementedError
