"""Names of the tool-call and reasoning parsers that a version of vLLM knows.

Called by: `planner`, so that a misspelled parser is found before an engine starts, not after.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Parsers:
    """Parsers of one version."""

    tool: tuple[str, ...]
    reasoning: tuple[str, ...]


@cache
def find_parsers(version: str) -> Parsers | None:
    """The parsers of this version; None when they were not recorded."""
    text = resources.files("remuda.catalog").joinpath("data", "parsers.toml").read_text(encoding="utf-8")
    row = tomllib.loads(text).get(version)
    return Parsers(tuple(row["tool"]), tuple(row["reasoning"])) if row else None
