"""`remuda validate` prints every problem of model files, with position and hint. It starts nothing.

The loader finds problems of form, the planner problems of sense. config.json of weights that are already on this
machine is read, so that the checks know the model.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from remuda.cli import output
from remuda.fleet.plan import read_configs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from remuda import spec

STDIN = "-"


@click.command(short_help="Check model files and list every problem.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--for",
    "machine",
    type=click.Choice(["cpu", "gpu"]),
    help="Machine on which `gpu: auto` is checked. Without it, only problems of every machine are listed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def command(files: tuple[Path, ...], machine: str | None, as_json: bool) -> None:
    """Check model files and list every problem.

    FILE may be - for standard input. The exit status is 1 when there are errors, and 0 when there are only warnings. A
    field that has an effect only on Kubernetes is a warning.
    """
    from remuda import planner, spec

    try:
        loaded = _load(files)
    except spec.SpecError as error:
        problems: tuple[spec.Problem, ...] = error.problems
        loaded = spec.Loaded()
    else:
        variant: planner.Variant | None = {"cpu": "cpu", "gpu": "cuda"}.get(machine or "")  # type: ignore[assignment]
        problems = planner.check_all(loaded, variant, read_configs(loaded), one_machine=True)
    if as_json:
        output.print_json([_as_json(problem) for problem in problems])
    else:
        _show(problems, loaded)
    sys.exit(1 if any(problem.severity == "error" for problem in problems) else 0)


def _load(files: "tuple[Path, ...]") -> "spec.Loaded":
    from remuda import spec

    if STDIN in map(str, files):
        if len(files) > 1:
            raise click.UsageError("standard input (-) is read alone, without other files")
        return spec.load_bytes(sys.stdin.buffer.read(), "<stdin>")
    return spec.load_files(files)


def _show(problems: "Iterable[spec.Problem]", loaded: "spec.Loaded") -> None:
    count = {"error": 0, "warning": 0}
    for problem in problems:
        count[problem.severity] += 1
        style = "red" if problem.severity == "error" else "yellow"
        print(f"{problem.place}: {output.paint(problem.severity, style)}: {_describe(problem)}")
        if problem.hint:
            print(f"  {output.paint('hint:', 'cyan')} {problem.hint}")
    if count["error"]:
        print(f"{_plural(count['error'], 'error')}, {_plural(count['warning'], 'warning')}")
        return
    found = ((len(loaded.models), "model"), (len(loaded.gateways), "gateway"), (len(loaded.tenants), "tenant"))
    parts = [_plural(number, what) for number, what in found if number]
    print(f"ok: {', '.join(parts)}" + (f"; {_plural(count['warning'], 'warning')}" if count["warning"] else ""))


def _describe(problem: "spec.Problem") -> str:
    path = problem.where
    return f"{path}: {problem.message}" if path else problem.message


def _as_json(problem: "spec.Problem") -> dict[str, object]:
    place = problem.place
    return {
        "severity": problem.severity,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "path": problem.where,
        "message": problem.message,
        "hint": problem.hint or None,
    }


def _plural(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
