"""`remuda gateway`: the gateway alone, in this process, over engines that already run."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from remuda.gateway.table import Table


@click.command(short_help="Run the gateway alone, over engines that already run.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes any free one.")
def command(files: tuple[Path, ...], port: int | None) -> None:
    """Run the gateway alone, over engines that already run.

    Every model of FILE must name its engines with `endpoints:`. Ctrl-C lets running requests finish.
    """
    from remuda.fleet.errors import FleetError
    from remuda.fleet.plan import plan_fleet
    from remuda.fleet.ports import require_free_port
    from remuda.gateway import app

    plan = plan_fleet(files, port)
    if plan.started:
        names = ", ".join(model.metadata.name for model in plan.started)
        raise FleetError(
            f"no engines are named for: {names}", "give these models `endpoints:`, or start them with `remuda up`"
        )
    require_free_port(plan.settings.host, plan.settings.port)
    app.run(plan.settings, StaticTable(plan.table))


class StaticTable:
    """A table that never changes: what the files said."""

    def __init__(self, table: "Table") -> None:
        self._table = table

    async def watch(self) -> AsyncIterator["Table"]:
        """The table, once; then nothing until the gateway is stopped."""
        import asyncio

        yield self._table
        await asyncio.Event().wait()
