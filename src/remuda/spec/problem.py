"""A problem of a file, and the error that carries all problems.

A problem is printed as `file:line:column: path: message`, followed by its `hint:`. This module does not know YAML,
pydantic or the meaning of fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from remuda.errors import RemudaError

FieldPath = tuple[str | int, ...]
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file. Line and column count from 1, as in an editor."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: its path in the document, a message with the value, and a hint."""

    path: FieldPath
    message: str
    hint: str = ""
    severity: Severity = "error"
    place: Place | None = None

    @property
    def where(self) -> str:
        """The path as text, such as `spec.engine.adapters[0].name`."""
        return render_path(self.path)

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        kind = "warning: " if self.severity == "warning" else ""
        path = self.where
        text = f"{where}{kind}{path}: {self.message}" if path else f"{where}{kind}{self.message}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text


def render_path(path: FieldPath) -> str:
    """The path as text: `('spec', 'adapters', 0, 'name')` becomes `spec.adapters[0].name`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "a").replace("-", "a").isalnum():
            text += f".{step}" if text else step
        else:
            text += f"[{step!r}]"
    return text


class SpecError(RemudaError):
    """Files are invalid. `problems` holds every mistake, sorted by file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(str(problem) for problem in self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} found\n{lines}")
