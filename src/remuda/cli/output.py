"""How commands print errors, tables, JSON and colour.

Data goes to standard output, everything else to standard error. Colour only repeats what a word already says, so the
text is complete without it. This module knows no command.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import IO

import click

from remuda.errors import RemudaError

STYLES = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}
GAP = "  "


def has_colour(stream: IO[str]) -> bool:
    """Whether to use colour: only on a terminal, and not with NO_COLOR or TERM=dumb."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return is_terminal(stream)


def is_terminal(stream: IO[str]) -> bool:
    """Whether this stream is a terminal."""
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def confirm_removal(what: str, *, yes: bool) -> None:
    """Ask for confirmation before `what` is removed. Without a terminal, only --yes confirms."""
    if yes:
        return
    if not is_terminal(sys.stdin):
        raise RemudaError(
            f"removing {what} needs confirmation, and there is no terminal to ask on", "add --yes to confirm"
        )
    click.confirm(f"remove {what}?", abort=True, err=True)


def paint(text: str, style: str, stream: IO[str] | None = None) -> str:
    """`text` in `style` if `stream` (by default standard output) shows colour, otherwise `text` unchanged."""
    if not style or not has_colour(stream or sys.stdout):
        return text
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m"


def show_error(message: str, hint: str = "") -> None:
    """`error: …` and `hint: …` on standard error."""
    show_note("error", message, "red")
    if hint:
        show_note("hint", hint, "cyan")


def show_note(label: str, message: str, style: str = "yellow") -> None:
    """One labelled message on standard error. Further lines of it are indented."""
    text = message.replace("\n", "\n  ")
    print(f"{paint(label + ':', style, sys.stderr)} {text}", file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def terminal_width(stream: IO[str]) -> int | None:
    """Columns of the terminal behind `stream`; None if it is no terminal, so that nothing is wrapped."""
    return shutil.get_terminal_size().columns if is_terminal(stream) else None


Painter = Callable[[int, str], str]


def render_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None = None,
    paint_cell: Painter = lambda _column, text: text,
) -> str:
    """An aligned table, or one block of `header: value` lines per row if the table is wider than `width`.

    `paint_cell(column, text)` may add colour. It is called after padding, so that escape codes do not count as width.
    """
    widths = [max(len(header), *(len(row[i]) for row in rows), 0) for i, header in enumerate(headers)]
    if width is not None and sum(widths) + len(GAP) * (len(widths) - 1) > width:
        return _render_blocks(headers, rows, paint_cell)
    lines = [GAP.join(h.ljust(w) for h, w in zip(headers, widths, strict=True)).rstrip()]
    for row in rows:
        cells = [paint_cell(i, cell.ljust(widths[i])) for i, cell in enumerate(row)]
        lines.append(GAP.join(cells).rstrip())
    return "\n".join(lines)


def _render_blocks(headers: Sequence[str], rows: Sequence[Sequence[str]], paint_cell: Painter) -> str:
    label_width = max(len(header) for header in headers) + 1
    blocks = []
    for row in rows:
        cells = [(f"{h.lower()}:", paint_cell(i, cell)) for i, (h, cell) in enumerate(zip(headers, row, strict=True))]
        blocks.append("\n".join(f"{label:<{label_width}} {cell}" for label, cell in cells if cell.strip()))
    return "\n\n".join(blocks)


def format_seconds(seconds: float) -> str:
    """A duration in readable units: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole % 3600 >= 60 else f"{whole // 3600} h"
