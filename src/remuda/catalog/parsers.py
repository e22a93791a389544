"""The names of the tool-call and reasoning parsers that each version of vLLM has.

They let a misspelled parser be found before an engine starts.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Parsers:
    """The parsers of one version of vLLM."""

    tool: tuple[str, ...]
    reasoning: tuple[str, ...]


@cache
def find_parsers(version: str) -> Parsers | None:
    """The parsers of this version of vLLM; None if they are not recorded."""
    text = resources.files("remuda.catalog").joinpath("data", "parsers.toml").read_text(encoding="utf-8")
    row = tomllib.loads(text).get(version)
    return Parsers(tuple(row["tool"]), tuple(row["reasoning"])) if row else None
