"""What is wrong with a file: one `Problem` per mistake, and the error that carries all of them.

Does: say a problem in one line, `file:line:col: path: message`, followed by its `hint:`.
Does not know: YAML, pydantic, or what the fields mean.
Called by: `loading` (shape), `planner` (sense) and the command line, which all show problems in this one form.
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
    """A position as editors count: line and column from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where in the document (`path`), what (with the value), and what to do about it."""

    path: FieldPath
    message: str
    hint: str = ""
    severity: Severity = "error"
    place: Place | None = None

    @property
    def where(self) -> str:
        """The path as one word: `spec.engine.adapters[0].name`."""
        return render_path(self.path)

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        kind = "warning: " if self.severity == "warning" else ""
        path = self.where
        text = f"{where}{kind}{path}: {self.message}" if path else f"{where}{kind}{self.message}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text


def render_path(path: FieldPath) -> str:
    """`('spec', 'adapters', 0, 'name')` → `spec.adapters[0].name`."""
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
    """One or more files are wrong: `problems` holds every mistake, in the order of the files' lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(str(problem) for problem in self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} found\n{lines}")
