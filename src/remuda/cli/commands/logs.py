"""`remuda logs` prints the log files of the engines, the gateway and the fleet, also when nothing is running."""

import contextlib
import os
import sys
import time
from collections import deque
from pathlib import Path

import click

from remuda.cli import output
from remuda.cli.parameters import Number

POLL_S = 0.2


@click.command(short_help="Show the logs of the engines and the gateway.")
@click.argument("name", metavar="[MODEL]", required=False)
@click.option("-f", "--follow", is_flag=True, help="Print new lines as they are written, until Ctrl-C.")
@click.option(
    "-n", "--lines", default=50, type=Number("count", 0), show_default=True, help="Number of last lines to print first."
)
def command(name: str | None, follow: bool, lines: int) -> None:
    """Show the logs of the engines and the gateway.

    MODEL is the name of a model, one of its engines (such as NAME-0), `gateway` or `fleet`. Without MODEL, all logs are
    shown. Logs stay on disk after the fleet has stopped.
    """
    from remuda.machine.home import Home

    folder = Home.from_environment().logs
    paths = find_logs(folder, name)
    with contextlib.ExitStack() as opened:
        tails = [
            opened.enter_context(contextlib.closing(Tail(path, path.stem if len(paths) > 1 else ""))) for path in paths
        ]
        for tail in tails:
            tail.show_last(lines)
        while follow:
            news = [tail.show_new() for tail in tails]
            if not any(news):
                sys.stdout.flush()
                time.sleep(POLL_S)


def find_logs(folder: Path, name: str | None) -> list[Path]:
    """The log files of a model's engines, of one engine, of `gateway` or of `fleet`; all of them without a name."""
    from remuda.fleet.errors import FleetError

    known = sorted(folder.glob("*.log"))
    if not known:
        raise FleetError(f"there are no logs in {folder}", "start a fleet with `remuda up`")
    if name is None:
        return known
    found = [path for path in known if path.stem == name or path.stem.rpartition("-")[0] == name]
    if not found:
        raise FleetError(f"there is no log of {name}", f"there are: {', '.join(path.stem for path in known)}")
    return found


class Tail:
    """Prints one log file and follows it across truncation and rotation."""

    def __init__(self, path: Path, label: str) -> None:
        self._path = path
        self._prefix = output.paint(f"{label} | ", "cyan") if label else ""
        self._file = path.open(errors="replace")
        self._partial = ""

    def show_last(self, count: int) -> None:
        """Print the last `count` lines."""
        for line in deque(self._file, maxlen=count):
            self._show(line)

    def show_new(self) -> bool:
        """Print what was written since the last call. Returns whether there was anything."""
        text = self._file.read()
        if not text:
            return self._reopen_if_rotated()
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self._show(line)
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _show(self, line: str) -> None:
        print(self._prefix + line.rstrip("\n"), flush=False)

    def _reopen_if_rotated(self) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        here = self._path.open(errors="replace") if now.st_ino != os.fstat(self._file.fileno()).st_ino else None
        if here is None and now.st_size >= self._file.tell():
            return False
        if here is not None:
            self._file.close()
            self._file = here
        else:
            self._file.seek(0)
        return True
