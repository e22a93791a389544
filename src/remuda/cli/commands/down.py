"""`remuda down` asks the fleet to stop, shows its progress, and returns when all of its processes have ended."""

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from remuda.cli import progress

if TYPE_CHECKING:
    from remuda.fleet.record import FleetRecord

GONE_S = 10.0  # a fleet that has sent its last event only has to exit
_POLL_S = 0.05


@click.command(short_help="Stop what `remuda up` started.")
@click.option("--cut", is_flag=True, help="Stop at once, without waiting for running requests.")
def command(cut: bool) -> None:
    """Stop what `remuda up` started.

    Running requests finish first. The command returns when all processes have ended. With --cut, running requests are
    aborted, and a fleet that does not respond is killed with its engines.
    """
    from remuda.fleet import control
    from remuda.fleet.errors import FleetAbsentError, FleetError
    from remuda.fleet.record import read_record
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
            _kill(record)
    _wait_until_gone(folder, record)


def _kill(record: "FleetRecord") -> None:
    from remuda.machine.processes import is_alive, stop_group

    if is_alive(record.process):
        os.kill(record.pid, signal.SIGKILL)
    for child in record.children.values():  # engines end with their parent, but the gateway would drain first
        stop_group(child)


def _wait_until_gone(folder: Path, record: "FleetRecord | None") -> None:
    from remuda.fleet.errors import FleetError
    from remuda.fleet.record import is_claimed
    from remuda.machine.processes import is_alive

    processes = [record.process, *record.children.values()] if record else []
    deadline_s = time.monotonic() + GONE_S
    while is_claimed(folder) or any(is_alive(process) for process in processes):
        if time.monotonic() > deadline_s:
            raise FleetError("the fleet has not ended yet", "`remuda down --cut` kills it")
        time.sleep(_POLL_S)
