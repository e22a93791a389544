"""Parses YAML text into one tree of nodes per document. Each node knows its position.

The builder reports every mistake that it can skip (duplicate keys, tags, unknown aliases, odd keys) and stops at a
syntax error. Depth and size are bounded, aliases included, so that no file can exhaust memory or the stack. This module
does not know kinds or fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from remuda.spec.loading.lines import Lines
from remuda.spec.loading.scalars import Scalar, describe, resolve_plain
from remuda.spec.problem import FieldPath, Problem
from remuda.spec.secrets import show

MAX_DEPTH = 32
MAX_NODES = 200_000
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_TAGS = {None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


@dataclass(slots=True, eq=False)
class Node:
    """A list (`items`), a mapping (`entries`) or otherwise a scalar, and the offset at which it starts."""

    index: int
    scalar: Scalar = None
    written: str = ""
    plain: bool = False
    items: list[Node] | None = None
    entries: dict[str, tuple[Node, Node]] | None = None
    size: int = 1

    def value(self) -> object:
        """The node as Python values."""
        if self.entries is not None:
            return {key: node.value() for key, (_, node) in self.entries.items()}
        if self.items is not None:
            return [node.value() for node in self.items]
        return self.scalar

    def step(self, step: str | int) -> tuple[Node, Node] | None:
        """The key node and the value node of an entry or item; None if there is no such entry or item."""
        if self.entries is not None and isinstance(step, str):
            return self.entries.get(step)
        if self.items is not None and isinstance(step, int) and 0 <= step < len(self.items):
            return self.items[step], self.items[step]
        return None

    def find(self, path: FieldPath) -> Node | None:
        """The node at a path below this one; None when nothing is written there."""
        node = self
        for step in path:
            found = node.step(step)
            if found is None:
                return None
            node = found[1]
        return node

    @property
    def is_empty(self) -> bool:
        """Whether this is a plain scalar without a value, such as `null` or nothing after a colon."""
        return self.plain and self.scalar is None

    def walk(self, path: FieldPath = ()) -> Iterator[tuple[FieldPath, Node]]:
        """Every node below this one with its path. A key has the path of its value."""
        yield path, self
        for key, (key_node, node) in (self.entries or {}).items():
            yield (*path, key), key_node
            yield from node.walk((*path, key))
        for number, node in enumerate(self.items or ()):
            yield from node.walk((*path, number))


@dataclass(slots=True)
class _Frame:
    """A list or mapping whose end the parser has not reached."""

    node: Node
    anchor: str | None
    key: Node | None = None
    merged: list[Node] = field(default_factory=list)

    def step(self) -> str | int | None:
        if self.node.items is not None:
            return len(self.node.items)
        return self.key.written if self.key is not None else None


class _StopReadingError(Exception):
    """The rest of the file must not be read. The problem is already in the list."""


class _Builder:
    """Builds the documents of one file from the parser's events."""

    __slots__ = ("anchors", "documents", "lines", "nodes", "problems", "stack")

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.problems: list[Problem] = []
        self.documents: list[Node] = []
        self.stack: list[_Frame] = []
        self.anchors: dict[str, Node | None] = {}
        self.nodes = 0

    def report(self, index: int, message: str, hint: str = "") -> None:
        """Add a problem at an offset. Its path is the path of the open lists and mappings."""
        path = tuple(step for frame in self.stack if (step := frame.step()) is not None)
        self.problems.append(Problem(path, message, hint, place=self.lines.place(index)))

    def take(self, event: yaml.Event) -> None:
        """Handle one event of the parser."""
        index = event.start_mark.index if event.start_mark else 0
        match event:
            case yaml.ScalarEvent():
                self.count(index, 1)
                self.add(self.read_scalar(event, index), event.anchor)
            case yaml.MappingStartEvent():
                self.open(Node(index, entries={}), event)
            case yaml.SequenceStartEvent():
                self.open(Node(index, items=[]), event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self.close()
            case yaml.AliasEvent():
                self.add(self.find_anchor(str(event.anchor), index), None)
            case yaml.DocumentStartEvent():
                self.anchors.clear()

    def read_scalar(self, event: yaml.ScalarEvent, index: int) -> Node:
        plain = event.style is None or event.style == ""
        plain = plain and event.tag != "tag:yaml.org,2002:str"
        self.check_tag(event, index)
        return Node(index, resolve_plain(event.value) if plain else event.value, event.value, plain)

    def check_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, index: int) -> None:
        if event.tag not in _PLAIN_TAGS:
            self.report(
                index,
                f"the tag {show(str(event.tag))} is not supported",
                "remove it; quotes make text, no quotes a number",
            )

    def count(self, index: int, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            self.report(index, f"has more than {MAX_NODES:,} entries", "split the file, and use fewer aliases")
            raise _StopReadingError

    def open(self, node: Node, event: yaml.CollectionStartEvent) -> None:
        self.count(node.index, 1)
        self.check_tag(event, node.index)
        if len(self.stack) >= MAX_DEPTH:
            self.report(
                node.index,
                f"is nested deeper than {MAX_DEPTH} levels",
                "no field is that deep; check brackets and indentation",
            )
            raise _StopReadingError
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.stack.append(_Frame(node, event.anchor))

    def close(self) -> None:
        frame = self.stack[-1]
        for source in frame.merged:
            for key, entry in (source.entries or {}).items():
                assert frame.node.entries is not None
                frame.node.entries.setdefault(key, entry)
        self.stack.pop()
        self.add(frame.node, frame.anchor)

    def find_anchor(self, anchor: str, index: int) -> Node:
        node = self.anchors.get(anchor)
        if node is None:
            inside = anchor in self.anchors
            self.report(
                index,
                f"*{anchor[:40]} " + ("contains itself" if inside else "is not defined above"),
                f"define it with &{anchor[:40]}",
            )
            return Node(index, "", "")
        self.count(index, node.size)
        return node

    def add(self, node: Node, anchor: str | None) -> None:
        """Add a finished node to the innermost open list or mapping."""
        if anchor is not None:
            self.anchors[anchor] = node
        if not self.stack:
            self.documents.append(node)
            return
        frame = self.stack[-1]
        frame.node.size += node.size
        if frame.node.items is not None:
            frame.node.items.append(node)
        elif frame.key is None:
            frame.key = node
        else:
            self.add_entry(frame, frame.key, node)
            frame.key = None

    def add_entry(self, frame: _Frame, key: Node, node: Node) -> None:
        entries = frame.node.entries
        assert entries is not None
        written = key.written
        if key.items is not None or key.entries is not None:
            self.report(key.index, "a list or mapping cannot be a key", "write a word before the colon")
        elif key.plain and written == "<<":
            self.merge(frame, node)
        elif key.plain and (key.scalar is None or isinstance(key.scalar, bool)):
            hint = f'write "{written}" in quotes' if written else "write a word before the colon"
            self.report(key.index, f"the key {show(written)} means {describe(key.scalar)} without quotes", hint)
        elif written in entries:
            first = self.lines.place(entries[written][0].index)
            self.report(
                key.index,
                f"the key {show(written)} is repeated",
                f"remove one; the first is on line {first.line}",
            )
        else:
            entries[written] = (key, node)

    def merge(self, frame: _Frame, node: Node) -> None:
        """Handle `<<: *defaults`: its entries are added when the mapping is complete."""
        for source in node.items if node.items is not None else [node]:
            if source.entries is None:
                self.report(source.index, "<< takes a mapping, or a list of mappings", "write <<: *name")
            else:
                self.count(source.index, source.size)
                frame.merged.append(source)


def parse_documents(lines: Lines) -> tuple[list[Node], list[Problem]]:
    """Every document that could be read, and every problem of the YAML syntax."""
    builder = _Builder(lines)
    try:
        for event in yaml.parse(lines.text, Loader=_PARSER):
            builder.take(event)
    except _StopReadingError:
        pass
    except yaml.MarkedYAMLError as error:
        builder.stack.clear()
        builder.problems.append(_explain_syntax(lines, error))
    except yaml.YAMLError:
        builder.problems.append(Problem((), "is not YAML", place=lines.place(0)))
    return builder.documents, builder.problems


_SYNTAX_HINTS = (
    ("cannot start any token", "quote text that starts with @, ` or %; indent with spaces, not tabs"),
    (
        "mapping values are not allowed",
        "quote text that contains a colon and a space, and check the indentation of this line",
    ),
    ("could not find expected ':'", "write `name: value`; if this is text, quote it or check its indentation"),
    ("did not find expected key", "check the indentation: entries of one mapping start in one column"),
    ("block sequence entries are not allowed", "put the list on lines of its own, each `- ` in one column"),
    ("did not find expected ',' or", "a bracket is not closed, or a comma is missing"),
    ("unexpected end of stream", "a quote or bracket is not closed"),
    ("did not find expected '-' indicator", "check the indentation: entries of one list start in one column"),
    ("did not find expected <document start>", "start a second document with a line ---"),
    ("unknown escape character", "write text with backslashes in single quotes"),
)


def _explain_syntax(lines: Lines, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    index = mark.index if mark else 0
    what = error.problem or error.context or "is not YAML"
    if lines.text[index : index + 1] == "\t":
        what, hint = "a tab cannot indent YAML", "replace the tab with spaces"
    else:
        hint = next(
            (hint for words, hint in _SYNTAX_HINTS if words in what), "check indentation, quotes and brackets here"
        )
    if error.context and error.context_mark and error.context_mark.index != index:
        what += f" ({error.context} that began on line {lines.place(error.context_mark.index).line})"
    return Problem((), f"not valid YAML: {what}", hint, place=lines.place(index))
