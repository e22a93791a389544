"""`remuda logs` prints the log files of the engines, the gateway and the fleet, also when nothing is running."""

import contextlib
import sys
import time
from collections.abc import Iterable

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
    from remuda.fleet.log_files import LogReader, find_logs
    from remuda.machine.home import Home

    paths = find_logs(Home.from_environment().logs, name)
    with contextlib.ExitStack() as opened:
        readers = [opened.enter_context(contextlib.closing(LogReader(path))) for path in paths]
        prefixes = {reader: output.paint(f"{reader.name} | ", "cyan") if len(readers) > 1 else "" for reader in readers}
        for reader, prefix in prefixes.items():
            _print_lines(prefix, reader.read_last(lines))
        while follow:
            is_quiet = True
            for reader, prefix in prefixes.items():
                if (new := reader.read_new()) is not None:
                    is_quiet = False
                    _print_lines(prefix, new)
            if is_quiet:
                sys.stdout.flush()
                time.sleep(POLL_S)


def _print_lines(prefix: str, lines: Iterable[str]) -> None:
    for line in lines:
        print(prefix + line, flush=False)
