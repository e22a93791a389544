"""`remuda gateway`: the gateway alone, in this process, over engines that already run."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from remuda.gateway.table import Table
    from remuda.gateway.tenant_store import TenantStore


@click.command(short_help="Run the gateway alone, over engines that already run.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes any free one.")
def command(files: tuple[Path, ...], port: int | None) -> None:
    """Run the gateway alone, over engines that already run.

    Every model of FILE must name its engines with `endpoints:`. Ctrl-C lets running requests finish.
    """
    from remuda.engine.home import Home
    from remuda.fleet.errors import FleetError
    from remuda.fleet.plan import plan_fleet
    from remuda.fleet.ports import require_free_port
    from remuda.gateway import app
    from remuda.gateway.tenant_store import TenantStore

    store = TenantStore.of_machine(Home.from_environment().state)
    plan = plan_fleet(files, port, store.records())
    if plan.started:
        names = ", ".join(model.metadata.name for model in plan.started)
        raise FleetError(
            f"no engines are named for: {names}", "give these models `endpoints:`, or start them with `remuda up`"
        )
    require_free_port(plan.settings.host, plan.settings.port)
    app.run(plan.settings, FileTable(plan.table, store))


class FileTable:
    """What the files said, which never changes, and the keys of `remuda tenant`, which may."""

    def __init__(self, table: "Table", store: "TenantStore") -> None:
        self._table = table
        self._store = store

    async def watch(self) -> AsyncIterator["Table"]:
        """The table, and again after each change of the keys."""
        from msgspec.structs import replace

        async for keys in self._store.watch():
            yield replace(self._table, keys=self._table.keys + keys)
