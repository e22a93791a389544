"""The flags of vLLM's server in each version: their names, the values they accept, and how values are written.

    flags_of          every flag of a version (flags/VERSION.txt, which scripts/read_flags.py reads from vLLM's parser)
    explain_misfit    the reason why vLLM's parser would refuse a value
    render_flag       name and value as words of a command line

The functions are pure and do not know which flags a file may set.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

_SHOWN = 60
"""Characters of a wrong value that a message repeats."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of vLLM's server."""

    kind: str
    """`switch` is --x and --no-x, `bare` is only --x. Other flags have a value of a kind in _VALUES; `folded` is text
    whose choices may be written in capitals and with dashes."""
    many: bool = False
    """Whether it accepts several values."""
    choices: tuple[str, ...] = ()
    """The values that it accepts; empty if it accepts every value of its kind."""


@dataclass(frozen=True, slots=True)
class _Value:
    noun: str
    example: str
    fits: Callable[[object], bool]


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _parses(parse: Callable[[str], object]) -> Callable[[object], bool]:
    """A test whether a function of vLLM can parse the text of a value."""

    def fits(value: object) -> bool:
        try:
            parse(str(value))
        except ValueError:
            return False
        return _is_plain(value)

    return fits


def _parse_amount(text: str) -> object:
    """Parse `16384`, `16k`, `16K` (times 1024) or `1.5m`, as vLLM's `human_readable_int` does."""
    return text if re.fullmatch(r"[0-9]+(\.[0-9]+)?[kmgt]|[0-9]+[KMGT]", text) else int(text)


def _is_json(*kinds: type) -> Callable[[object], bool]:
    """A test whether a value, or the JSON value of its text, has one of these types."""

    def fits(value: object) -> bool:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                return False
        return isinstance(value, kinds)

    return fits


_VALUES: Final = MappingProxyType(
    {
        "int": _Value("a whole number", "4", _parses(int)),
        "amount": _Value("a whole number", "16384 or 16k", _parses(_parse_amount)),
        "float": _Value("a number", "0.5", _parses(float)),
        "text": _Value("text", '"word" (in quotes)', _is_plain),
        "folded": _Value("text", '"word" (in quotes)', _is_plain),
        "json": _Value("a mapping or a list", "{key: value}", _is_json(dict, list)),
        "mapping": _Value("a mapping", "{key: value}", _is_json(dict)),
        "any": _Value("text or a mapping", "{key: value}", lambda value: _is_plain(value) or isinstance(value, dict)),
    }
)


@cache
def flags_of(version: str) -> MappingProxyType[str, Flag]:
    """Every flag of this version, by its name without dashes."""
    text = resources.files("remuda.vllm").joinpath("flags", f"{version}.txt").read_text(encoding="utf-8")
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return MappingProxyType(
        {name: Flag(kind.removesuffix("+"), kind.endswith("+"), tuple(choices)) for name, kind, *choices in rows}
    )


def explain_misfit(name: str, flag: Flag, value: object) -> tuple[str, str] | None:
    """What is wrong with this value, and what to write; None if vLLM accepts it."""
    if flag.kind in {"switch", "bare"}:
        return None if isinstance(value, bool) else (f"--{name} is a switch", f"write {name}: true or false")
    if isinstance(value, list) and flag.kind != "json":
        if not flag.many:
            return f"--{name} takes one value, not a list", f"write one, for example {_example(name, flag)}"
        if not value:
            return f"--{name} needs at least one value", f"write one, or remove {name}"
        return next((found for item in value if (found := _explain_item(name, flag, item))), None)
    return _explain_item(name, flag, value)


def _explain_item(name: str, flag: Flag, value: object) -> tuple[str, str] | None:
    taken = _VALUES[flag.kind]
    shown = json.dumps(value, ensure_ascii=False, default=str)[:_SHOWN]
    if not taken.fits(value):
        return f"--{name} takes {taken.noun}, not {shown}", f"for example {_example(name, flag)}"
    written = _fold(value) if flag.kind == "folded" else str(value)
    if not flag.choices or written in flag.choices:
        return None
    near = get_close_matches(_fold(value), flag.choices, 1)
    hint = f"did you mean {near[0]}?" if near else "there are " + ", ".join(flag.choices)
    return f"--{name} does not take {shown}", hint


def _example(name: str, flag: Flag) -> str:
    return f"{name}: {flag.choices[0] if flag.choices else _VALUES[flag.kind].example}"


def _fold(value: object) -> str:
    """The text as vLLM folds names of backends."""
    return str(value).lower().replace("-", "_")


def render_flag(name: str, flag: Flag, value: object) -> tuple[str, ...]:
    """`--name value …` as vLLM's parser reads it. The value must fit the flag."""
    if flag.kind == "bare":
        return (f"--{name}",) if value else ()
    if flag.kind == "switch":
        return (f"--{name}",) if value else (f"--no-{name}",)
    words = [_render_item(item) for item in (value if flag.many and isinstance(value, list) else [value])]
    if len(words) == 1 and words[0].startswith("-"):
        return (f"--{name}={words[0]}",)  # as a word of its own it would be read as a flag
    return (f"--{name}", *words)


def _render_item(value: object) -> str:
    return str(value) if _is_plain(value) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
