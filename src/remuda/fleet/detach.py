"""`remuda up -d`: a fleet in a session of its own, and the launcher that waits until the fleet is ready.

The launcher starts `python -m remuda.fleet.detach --fd N` and reads its events from a socket pair until Ready or
Failed. Then the fleet goes on alone. It also goes on when the launcher is killed earlier.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from remuda.errors import RemudaError
from remuda.fleet.errors import FleetError
from remuda.fleet.reporting import events
from remuda.machine.errors import explain_os_error
from remuda.machine.files import open_append
from remuda.machine.home import Home

LOG_NAME = "fleet.log"
SEND_TIMEOUT_S = 2.0  # a suspended launcher must not block the fleet; after this time it is sent nothing more


class Launch:
    """A fleet that starts in another session."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket, log_path: Path) -> None:
        self._process = process
        self._channel = channel
        self._log_path = log_path

    def follow(self) -> Iterator[events.AnyEvent]:
        """Its events until it is ready. Raises FleetError when it fails or ends earlier."""
        with self._channel.makefile("rb") as lines:
            for line in lines:
                event = events.parse_line(line)
                if isinstance(event, events.Failed):
                    raise FleetError(event.message, event.hint)
                yield event
                if isinstance(event, events.Ready):
                    return
        try:
            status = self._process.wait(SEND_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise FleetError(
                "the fleet goes on, but this command did not read its events for too long", "`remuda status`"
            ) from None
        raise FleetError(f"the fleet ended with status {status} before it was ready", f"its log: {self._log_path}")

    def interrupt(self) -> None:
        """Tell the fleet to stop."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Return when the fleet is gone."""
        self._process.wait()


def launch(files: Sequence[Path], port: int | None, home: Home) -> Launch:
    """Start a fleet in a session of its own."""
    ours, theirs = socket.socketpair()
    log_path = home.logs / LOG_NAME
    command = [sys.executable, "-P", "-m", "remuda.fleet.detach", "--fd", str(theirs.fileno())]
    try:
        with theirs, open_append(log_path) as log:
            process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except OSError as error:
        ours.close()
        raise explain_os_error(error) from error
    order = {"files": [str(path.absolute()) for path in files], "port": port}
    with contextlib.suppress(OSError):  # it died at once: `follow` names its log
        ours.sendall(json.dumps(order).encode() + b"\n")
    return Launch(process, ours, log_path)


class Report:
    """Sends events to the launcher until the fleet is ready, and writes all of them to the log."""

    def __init__(self, channel: socket.socket) -> None:
        channel.settimeout(SEND_TIMEOUT_S)
        self._channel: socket.socket | None = channel

    def emit(self, event: events.AnyEvent) -> None:
        """Send and write one event."""
        line = events.render_line(event)
        if not isinstance(event, events.AnswerText):
            with contextlib.suppress(OSError):
                sys.stderr.write(line.decode())
                sys.stderr.flush()
        if self._channel is None:
            return
        try:
            self._channel.sendall(line)
        except OSError:
            self.hang_up()
        if isinstance(event, events.Ready):
            self.hang_up()

    def hang_up(self) -> None:
        """Close the socket: the launcher has read all that it waits for."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def main(arguments: Sequence[str]) -> int:
    """The detached process: read which files to serve, serve them, report."""
    from remuda.fleet import app, plan
    from remuda.gateway.access.tenant_store import TenantStore

    channel = socket.socket(fileno=int(arguments[arguments.index("--fd") + 1]))
    os.set_inheritable(channel.fileno(), False)
    with channel.makefile("rb") as lines:
        order = json.loads(lines.readline())
    report = Report(channel)
    try:
        home = Home.from_environment()
        keys = TenantStore.of_machine(home.state).read_keys()
        fleet = plan.plan_fleet([Path(name) for name in order["files"]], order["port"], keys)
        app.serve(fleet, home, report.emit)
    except RemudaError as error:
        report.emit(events.Failed(message=error.message, hint=error.hint))
        return error.exit_status
    finally:
        report.hang_up()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
