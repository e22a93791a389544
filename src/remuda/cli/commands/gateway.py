"""`remuda gateway` runs only the gateway, in front of engines that already run."""

from pathlib import Path

import click

from remuda.cli.parameters import PORT


@click.command(short_help="Run only the gateway, for engines that already run.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--port", type=PORT, help="Port to listen on; 0 chooses a free one.")
def command(files: tuple[Path, ...], port: int | None) -> None:
    """Run only the gateway, for engines that already run.

    Every Model in FILE must list its engines under `endpoints:`. On Ctrl-C, running requests finish before the gateway
    exits.
    """
    from remuda.fleet.errors import FleetError
    from remuda.fleet.plan import plan_fleet
    from remuda.gateway import standalone
    from remuda.gateway.access.tenant_store import TenantStore
    from remuda.machine.home import Home
    from remuda.machine.ports import require_free_port

    store = TenantStore.of_machine(Home.from_environment().state)
    plan = plan_fleet(files, port, store.read_keys())
    if plan.started:
        names = ", ".join(model.metadata.name for model in plan.started)
        raise FleetError(
            f"no engines are listed for: {names}", "give these models `endpoints:`, or start them with `remuda up`"
        )
    require_free_port(plan.settings.listen.host, plan.settings.listen.port)
    standalone.become(standalone.GatewayPlan(plan.settings, plan.table, str(store.path)))
