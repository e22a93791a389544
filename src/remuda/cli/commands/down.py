"""`remuda down` asks the fleet to stop, shows its progress, and returns when all of its processes have ended."""

import click

from remuda.cli import progress


@click.command(short_help="Stop what `remuda up` started.")
@click.option("--cut", is_flag=True, help="Stop at once, without waiting for running requests.")
def command(cut: bool) -> None:
    """Stop what `remuda up` started.

    Running requests finish first. The command returns when all processes have ended. With --cut, running requests are
    aborted, and a fleet that does not respond is killed with its engines.
    """
    from remuda.fleet import control
    from remuda.fleet.errors import FleetAbsentError, FleetError
    from remuda.fleet.record import kill_fleet, read_record, wait_until_gone
    from remuda.machine.home import Home

    folder = Home.from_environment().state
    record = read_record(folder)
    with progress.open_view() as view:
        try:
            for event in control.ask_down(folder, cut=cut):
                view.show(event)
        except FleetAbsentError:
            raise
        except FleetError:
            if not cut or record is None:
                raise
            kill_fleet(record)
    wait_until_gone(folder, record)
