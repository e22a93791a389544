"""`remuda up` plans a fleet from model files, shows the plan, and runs it in this process or in the background."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from remuda.cli import output, progress
from remuda.cli.parameters import PORT
from remuda.cli.signals import hold_ctrl_c

if TYPE_CHECKING:
    from remuda.fleet.plan import FleetPlan
    from remuda.machine.home import Home

EXIT_INTERRUPTED = 130


@click.command(short_help="Serve the models of FILE on this machine.")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("-d", "--detach", is_flag=True, help="Return when the models are ready; keep serving in the background.")
@click.option("--port", type=PORT, help="Port of the gateway; 0 chooses a free one.")
@click.option("--dry-run", is_flag=True, help="Show what would be started, and exit.")
def command(files: tuple[Path, ...], detach: bool, port: int | None, dry_run: bool) -> int:
    """Serve the models of FILE on this machine.

    The command installs vLLM if it is missing, downloads weights, starts the engines and a gateway in front of them,
    asks a model one question to show that it answers, and serves until Ctrl-C. Running requests then finish first.
    Without FILE, it serves a small model that comes with Remuda, on the CPU.
    """
    from remuda.fleet.plan import plan_fleet
    from remuda.gateway.access.tenant_store import TenantStore
    from remuda.machine.home import Home

    home = Home.from_environment()
    plan = plan_fleet(files, port, TenantStore.of_machine(home.state).read_keys())
    show_plan(plan)
    if dry_run:
        return 0
    return _launch(files, port, home) if detach else _serve(plan, home)


def show_plan(plan: "FleetPlan") -> None:
    """Print the models that are about to start, and the warnings about their files."""
    rows = []
    for model in plan.models:
        settings = model.spec.engine
        remote = model.spec.endpoints
        rows.append(
            (
                model.served_name,
                model.spec.source or ", ".join(endpoint.url for endpoint in remote or ()),
                "already running" if remote else f"vLLM {settings.version}",
                str(len(remote)) if remote else str(model.spec.start_replicas),
            )
        )
    table = output.render_table(("MODEL", "SOURCE", "ENGINE", "REPLICAS"), rows, output.terminal_width(sys.stderr))
    click.echo(table + "\n", err=True)
    for note in plan.notes:  # written as by `validate`: file:line:column: warning: …
        click.echo(note.replace("warning:", output.paint("warning:", "yellow", sys.stderr), 1), err=True)


def _serve(plan: "FleetPlan", home: "Home") -> int:
    from remuda.fleet import app

    with progress.open_view() as view:
        became_ready = app.serve(plan, home, view.show)
    return 0 if became_ready else EXIT_INTERRUPTED


def _launch(files: tuple[Path, ...], port: int | None, home: "Home") -> int:
    from remuda.fleet import detach
    from remuda.fleet.plan import LAPTOP_FILE

    with progress.open_view() as view, hold_ctrl_c() as let_go:
        launch = detach.launch(files or (LAPTOP_FILE,), port, home)
        try:
            let_go()
            for event in launch.follow():
                view.show(event)
        except KeyboardInterrupt:
            launch.interrupt()
            launch.wait()
            return EXIT_INTERRUPTED
    click.echo("Serving in the background. See `remuda status` and `remuda logs -f`; `remuda down` stops it.", err=True)
    return 0
