"""`remuda engine`: the environments vLLM runs in. Parses, calls engine/install.py, prints."""

import sys
from typing import TYPE_CHECKING

import click

from remuda.cli import output

if TYPE_CHECKING:
    from pathlib import Path

    from remuda.engine.installation import Installation

HEADERS = ("NAME", "VLLM", "BUILD", "PYTHON", "SIZE", "STATE")
_STYLES = {"whole": "green", "broken": "red"}


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
    from remuda.engine.home import Home
    from remuda.engine.install import install_engine
    from remuda.engine.variants import DEFAULT_VERSION
    from remuda.fleet.workshop import StepReporter

    wanted = version or DEFAULT_VERSION
    view = View()
    step = StepReporter("engine", f"vLLM {wanted}", view.show)
    chosen = None if variant == "auto" else variant
    try:
        found = install_engine(Home.from_environment(), wanted, chosen, step.report, repair=repair)
        step.finish(f"installed ({found.variant}, {format_size(found.size_bytes)})")
    finally:
        view.close()
    click.echo(found.path)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List what is installed, whole or broken."""
    from remuda.engine.home import Home
    from remuda.engine.install import list_installations

    found = list_installations(Home.from_environment())
    if as_json:
        output.print_json([describe(path, installation) for path, installation in found])
    elif not found:
        click.echo("No engine is installed. `remuda engine install` installs one; `remuda up` does it by itself.")
    else:
        rows = [_render_row(path, installation) for path, installation in found]
        click.echo(output.render_table(HEADERS, rows, output.terminal_width(sys.stdout), _paint_cell))


@command.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def remove(names: tuple[str, ...]) -> None:
    """Delete engines by the NAME that `list` shows; `all` deletes every one."""
    from remuda.engine.home import Home
    from remuda.engine.install import list_installations, remove_installation

    home = Home.from_environment()
    chosen = tuple(path.name for path, _ in list_installations(home)) if names == ("all",) else names
    for name in chosen:
        click.echo(f"removed {remove_installation(home, name)}")


def describe(path: "Path", installation: "Installation | None") -> dict[str, object]:
    """One environment for programs; `whole: false` has nothing but its place."""
    if installation is None:
        return {"name": path.name, "path": str(path), "whole": False}
    return {
        "name": path.name,
        "path": str(path),
        "whole": True,
        "version": installation.version,
        "variant": installation.variant,
        "python": installation.python_version,
        "size_bytes": installation.size_bytes,
    }


def format_size(size_bytes: int) -> str:
    """Gigabytes as disks are sold."""
    return f"{size_bytes / 1e9:.1f} GB"


def _render_row(path: "Path", installation: "Installation | None") -> tuple[str, ...]:
    if installation is None:
        return (path.name, "", "", "", "", "broken")
    size = format_size(installation.size_bytes)
    return (path.name, installation.version, installation.variant, installation.python_version, size, "whole")


def _paint_cell(column: int, text: str) -> str:
    return output.paint(text, _STYLES.get(text.strip(), "")) if column == len(HEADERS) - 1 else text
