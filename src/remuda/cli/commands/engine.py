"""`remuda engine` installs, lists and removes the environments that vLLM runs in."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from remuda.cli import output
from remuda.cli.signals import exit_on_signals

if TYPE_CHECKING:
    from remuda.engine.install.inventory import Environment

HEADERS = ("NAME", "VLLM", "BUILD", "PYTHON", "SIZE", "STATE")
_STYLES = {"current": "green", "superseded": "yellow", "broken": "red"}


@click.group()
def command() -> None:
    """Install, list and remove versions of vLLM.

    Each version of vLLM is installed once, in a Python environment of its own. `remuda up` installs the version that a
    model file asks for.
    """


@command.command()
@click.option(
    "--version",
    default=None,
    metavar="X.Y.Z",
    help="Version of vLLM. By default the version that is tested.",
)
@click.option(
    "--variant",
    type=click.Choice(("auto", "cpu", "cpu-pypi", "cuda")),
    default="auto",
    show_default=True,
    help="Build of vLLM. `cpu` uses a smaller PyTorch from PyTorch's own index; `cpu-pypi` uses only PyPI; "
    "`auto` chooses by this machine.",
)
@click.option(
    "--repair", is_flag=True, help="Test an existing installation, and reinstall it if vLLM cannot be imported."
)
def install(version: str | None, variant: str, repair: bool) -> None:
    """Install vLLM and print the path of its environment.

    An existing installation of the same version and build is kept.
    """
    from remuda.cli.progress import View
    from remuda.engine.install.installer import install_engine
    from remuda.engine.install.inventory import list_environments
    from remuda.engine.install.variants import DEFAULT_VERSION
    from remuda.fleet.engines import StepReporter
    from remuda.machine.home import Home

    home = Home.from_environment()
    wanted = version or DEFAULT_VERSION
    view = View()
    step = StepReporter("engine", f"vLLM {wanted}", view.show)
    chosen = None if variant == "auto" else variant
    try:
        with exit_on_signals():
            found = install_engine(home, wanted, chosen, step.report, repair=repair)
        step.finish(f"installed ({found.variant}, {format_size(found.size_bytes)})")
    finally:
        view.close()
    click.echo(found.path)
    _print_unused(list_environments(home))


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the installed versions of vLLM.

    STATE is `current` for an environment that this Remuda starts engines from, `superseded` for one that an older
    Remuda or another Python version used, and `broken` for one that is incomplete or damaged.
    """
    from remuda.engine.install.inventory import list_environments
    from remuda.machine.home import Home

    found = list_environments(Home.from_environment())
    if as_json:
        output.print_json([describe(environment) for environment in found])
    elif not found:
        click.echo("vLLM is not installed. `remuda engine install` installs it, and so does `remuda up`.")
    else:
        rows = [_render_row(environment) for environment in found]
        click.echo(output.render_table(HEADERS, rows, output.terminal_width(sys.stdout), _paint_cell))
        _print_unused(found)


@command.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--superseded", is_flag=True, help="Remove all environments that this Remuda does not use.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def remove(names: tuple[str, ...], superseded: bool, yes: bool) -> None:
    """Remove environments of vLLM.

    NAME is a name that `remuda engine list` shows, or `all`. The command asks for confirmation; without a terminal it
    needs --yes. It never removes an environment that an engine runs from or that a running fleet may start one from.
    """
    from remuda.engine.install.installation import measure_bytes
    from remuda.engine.install.inventory import (
        check_unused,
        list_environments,
        remove_environment,
        select_environments,
    )
    from remuda.fleet.record import check_unclaimed
    from remuda.machine.home import Home

    if superseded == bool(names):
        raise click.UsageError("give either NAME, `all` or --superseded")
    home = Home.from_environment()
    chosen = select_environments(list_environments(home), names)
    for environment in chosen:
        check_unused(environment)
        if environment.is_current:
            check_unclaimed(home.state, environment.name)
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


def _confirm(chosen: "Sequence[Environment]", *, yes: bool) -> None:
    """Ask before environments are deleted, and name them first when they are several."""
    if len(chosen) > 1 and not yes:
        for environment in chosen:
            click.echo(f"{environment.name} ({format_size(environment.size_bytes)})", err=True)
    what = chosen[0].name if len(chosen) == 1 else f"these {len(chosen)} engines"
    total = format_size(sum(environment.size_bytes for environment in chosen))
    output.confirm_removal(f"{what} ({total})", yes=yes)


def _print_unused(found: "Sequence[Environment]") -> None:
    from remuda.engine.install.inventory import describe_unused

    if unused := describe_unused(found):
        click.echo(unused, err=True)


def describe(environment: "Environment") -> dict[str, object]:
    """One environment as JSON values; a broken one has no version."""
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
    """A size in decimal gigabytes."""
    return f"{size_bytes / 1e9:.1f} GB"


def _render_row(environment: "Environment") -> tuple[str, ...]:
    found = environment.installation
    about = (found.version, found.variant, found.python_version) if found else ("", "", "")
    return (environment.name, *about, format_size(environment.size_bytes), environment.state)


def _paint_cell(column: int, text: str) -> str:
    return output.paint(text, _STYLES.get(text.strip(), "")) if column == len(HEADERS) - 1 else text
