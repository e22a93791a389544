"""Reads the corpus files and expands their question patterns.

A corpus file is a list of blocks:

    [id]                         one fact
    a: the one canonical answer
    define: alias | alias        every pattern of the group "define", once per alias
    q: {what|which} engine ...   one hand-written pattern; {a|b|} is a choice, $name a macro

`templates.txt` holds the macros (`$name = a|b`) and the groups (`@name` followed by patterns with
`<x>`). Standard library only: `evaluate.py` and the unit tests read the corpus without torch.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
CHOICE = re.compile(r"\{([^{}]*)\}")
MACRO = re.compile(r"\$([a-z_]+)")
SLOT = re.compile(r"<[a-z]+>")
SLOT_REGEX = {"<x>": ".+", "<n>": r"\d+", "<t>": ".+"}


@dataclass(frozen=True, slots=True)
class Fact:
    """One canonical answer and every pattern that asks for it."""

    name: str
    topic: str
    """The corpus file it is from: talk, serving, words, …"""
    answer: str
    patterns: tuple[str, ...]
    """Hand-written questions."""
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Group name to the names that fill its `<x>`."""


@dataclass(frozen=True, slots=True)
class Templates:
    """Macros and groups shared by all corpus files."""

    macros: dict[str, str]
    groups: dict[str, tuple[str, ...]]

    def unfold(self, pattern: str) -> str:
        """Replace `$name` by a choice; macros may use macros."""
        while MACRO.search(pattern):
            pattern = MACRO.sub(lambda m: "{" + self.macros[m[1]] + "}", pattern)
        return pattern


def content_lines(path: Path) -> Iterator[str]:
    """Lines that are neither blank nor comments."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip()


def parse_templates(path: Path = CORPUS / "templates.txt") -> Templates:
    macros: dict[str, str] = {}
    groups: dict[str, list[str]] = {}
    group: list[str] = []
    for line in content_lines(path):
        if line.startswith("$"):
            name, _, choices = line[1:].partition("=")
            macros[name.strip()] = choices.strip()
        elif line.startswith("@"):
            group = groups.setdefault(line[1:], [])
        else:
            group.append(line)
    return Templates(macros, {name: tuple(lines) for name, lines in groups.items()})


def split_names(text: str) -> list[str]:
    """Split at the bars that are outside every choice."""
    names, depth = [""], 0
    for char in text:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "|" and depth == 0:
            names.append("")
        else:
            names[-1] += char
    return [name.strip() for name in names]


def parse_facts(path: Path, templates: Templates) -> Iterator[Fact]:
    name, answer = "", ""
    patterns: list[str] = []
    aliases: dict[str, tuple[str, ...]] = {}
    for line in [*content_lines(path), "[end]"]:
        if line.startswith("["):
            if name:
                yield Fact(name, path.stem.removeprefix("facts-"), answer, tuple(patterns), aliases)
            name, answer, patterns, aliases = line.strip("[]"), "", [], {}
            continue
        key, _, value = line.partition(":")
        value = value.strip()
        if key == "a":
            answer = value.replace("\\n", "\n")
        elif key == "q":
            patterns.append(templates.unfold(value))
        elif key in templates.groups:
            names = [templates.unfold(name) for name in split_names(value)]
            aliases[key] = (*aliases.get(key, ()), *names)
        else:
            raise ValueError(f"{path.name}: unknown line {line!r}")


def load_facts(templates: Templates) -> list[Fact]:
    """Every fact of `corpus/facts-*.txt`, in a fixed order."""
    return [f for path in sorted(CORPUS.glob("facts-*.txt")) for f in parse_facts(path, templates)]


def pick_choice(pattern: str, rng: random.Random) -> str:
    """One random expansion of a pattern without macros."""
    while CHOICE.search(pattern):
        pattern = CHOICE.sub(lambda m: rng.choice(m[1].split("|")), pattern)
    return re.sub(r"\s+", " ", pattern).strip()


def normalise(text: str) -> str:
    """Lower case, words and digits only, single spaces."""
    return re.sub(r"[^a-z0-9]+", " ", text.lower().replace("'", "")).strip()


def pattern_regex(pattern: str, slot: str = "") -> re.Pattern[str]:
    """Regex that matches the normalised form of every expansion of a pattern.

    Spaces are left out on both sides, so that empty choices need no care.
    """
    out = []
    for part in re.split(r"([{}|]|<[a-z]+>)", pattern):
        if part in ("{", "}", "|"):
            out.append({"{": "(?:", "}": ")", "|": "|"}[part])
        elif SLOT.fullmatch(part):
            out.append(slot or SLOT_REGEX[part])
        else:
            out.append(normalise(part).replace(" ", ""))
    return re.compile("".join(out))


def question_regexes(facts: list[Fact], templates: Templates) -> Iterator[re.Pattern[str]]:
    """One regex per hand-written pattern and per (group pattern, fact)."""
    for fact in facts:
        for pattern in fact.patterns:
            yield pattern_regex(pattern)
        for group, names in fact.aliases.items():
            slot = "(?:" + "|".join(pattern_regex(n).pattern for n in names) + ")"
            for pattern in templates.groups[group]:
                yield pattern_regex(templates.unfold(pattern), slot)
