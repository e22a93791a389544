"""`remuda gateway`: the gateway alone, in this process, over engines that already run."""

from pathlib import Path

import click


@click.command(short_help="Run the gateway alone, over engines that already run.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes any free one.")
def command(files: tuple[Path, ...], port: int | None) -> None:
    """Run the gateway alone, over engines that already run.

    Every model of FILE must name its engines with `endpoints:`. Ctrl-C lets running requests finish.
    """
    from remuda.fleet.errors import FleetError
    from remuda.fleet.plan import plan_fleet
    from remuda.gateway import standalone
    from remuda.gateway.access.tenant_store import TenantStore
    from remuda.machine.home import Home
    from remuda.machine.ports import require_free_port

    store = TenantStore.of_machine(Home.from_environment().state)
    plan = plan_fleet(files, port, store.records())
    if plan.started:
        names = ", ".join(model.metadata.name for model in plan.started)
        raise FleetError(
            f"no engines are named for: {names}", "give these models `endpoints:`, or start them with `remuda up`"
        )
    require_free_port(plan.settings.host, plan.settings.port)
    standalone.become(standalone.GatewayPlan(plan.settings, plan.table, str(store.path)))
