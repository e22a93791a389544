"""A fleet that does not respond is killed with its children."""

import contextlib
import subprocess
import time

from remuda.fleet.record import FleetRecord, kill_fleet
from remuda.machine.processes import ProcessId, fetch_process_id


def start() -> tuple[subprocess.Popen[bytes], ProcessId]:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    identity = fetch_process_id(process.pid)
    assert identity is not None
    return process, identity


def test_the_gateway_is_killed_with_the_supervisor_and_does_not_drain() -> None:
    with contextlib.ExitStack() as started:
        (supervisor, mine), (gateway, child) = start(), start()
        for process in (supervisor, gateway):
            started.callback(process.wait)
            started.callback(process.kill)
        record = FleetRecord(mine.pid, mine.start_ticks, "", (), time.time(), {"gateway": child})
        kill_fleet(record)
        assert (supervisor.wait(10), gateway.wait(10)) == (-9, -9)
