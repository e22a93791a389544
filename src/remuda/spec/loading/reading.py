"""Loads files: from text through node trees to checked documents, or to every problem that was found.

The steps are YAML syntax (`tree`), kind, fields (pydantic, with the messages of `explain`), rules over several fields,
and the checks of `checks`. This module does not judge whether a document makes sense on some hardware.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from remuda.spec.documents.fields import shape_at
from remuda.spec.documents.gateway import ModelGateway
from remuda.spec.documents.model import Model
from remuda.spec.documents.shape import API_VERSION
from remuda.spec.documents.tenant import Tenant
from remuda.spec.loading.checks import find_missing_values, find_name_clashes, find_secrets
from remuda.spec.loading.explain import explain
from remuda.spec.loading.lines import Lines, check_text, decode, read_file
from remuda.spec.loading.loaded import AnyKind, Loaded, Origin, identify
from remuda.spec.loading.tree import Node, parse_documents
from remuda.spec.problem import FieldPath, Place, Problem, SpecError
from remuda.spec.secrets import show

KINDS: dict[str, type[AnyKind]] = {"Model": Model, "ModelGateway": ModelGateway, "Tenant": Tenant}


def load_files(paths: Sequence[Path]) -> Loaded:
    """Read and check files together. Raises SpecError with every problem of all of them."""
    return read_texts(decode(str(path), data) if isinstance(data := read_file(path), bytes) else data for path in paths)


def load_text(text: str, name: str = "<text>") -> Loaded:
    """Read and check one text. Raises SpecError with every problem."""
    return read_texts([check_text(name, text)])


def load_bytes(data: bytes, name: str = "<input>") -> Loaded:
    """Read and check one file's content. Raises SpecError with every problem."""
    return read_texts([decode(name, data)])


def read_texts(texts: Iterable[Lines | Problem]) -> Loaded:
    """Check all texts together. Raises SpecError with every problem, sorted by position."""
    problems: list[Problem] = []
    found: list[tuple[AnyKind, Origin]] = []
    for lines in texts:
        if isinstance(lines, Problem):
            problems.append(lines)
            continue
        trees, form_problems = parse_documents(lines)
        origins = [Origin(lines, tree) for tree in trees if not tree.is_empty]
        if not origins and not form_problems:
            form_problems = [
                Problem((), "is empty", "write a Model; examples/laptop.yaml is a short one", place=lines.place(0))
            ]
        problems += form_problems
        for origin in origins:
            written, found_here = _check_document(origin)
            problems += found_here
            if written is not None:
                found.append((written, origin))
    problems += find_name_clashes(found)
    if problems:
        raise SpecError(sorted(problems, key=_position))
    return _collect(found)


def _check_document(origin: Origin) -> tuple[AnyKind | None, list[Problem]]:
    """The document, if it is valid, and its problems. Each place has at most one problem, and secrets come first."""
    problems = {problem.place: problem for problem in find_secrets(origin)}
    for problem in find_missing_values(origin):
        problems.setdefault(problem.place, problem)
    written = _read_document(origin)
    if isinstance(written, AnyKind):
        return written, list(problems.values())
    taken = set(problems)
    return None, [*problems.values(), *(problem for problem in written if problem.place not in taken)]


def _position(problem: Problem) -> Place:
    return problem.place or Place("", 0, 0)


def _collect(found: Sequence[tuple[AnyKind, Origin]]) -> Loaded:
    objects = [written for written, _ in found]
    return Loaded(
        models=tuple(each for each in objects if isinstance(each, Model)),
        gateways=tuple(each for each in objects if isinstance(each, ModelGateway)),
        tenants=tuple(each for each in objects if isinstance(each, Tenant)),
        origins={identify(written): origin for written, origin in found},
    )


def _read_document(origin: Origin) -> AnyKind | list[Problem]:
    kind = _find_kind(origin)
    if isinstance(kind, list):
        return kind
    try:
        return kind.model_validate(origin.tree.value(), by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        problems = [_locate(origin, kind, detail) for detail in details if not _only_follows(origin, detail)]
        places = {problem.place for problem in problems}
        return problems + [broken for broken in _find_broken_rules(origin, kind) if broken.place not in places]


def _find_kind(origin: Origin) -> type[AnyKind] | list[Problem]:
    tree = origin.tree
    if tree.entries is None:
        message = "must be a mapping with apiVersion, kind, metadata and spec"
        return [Problem((), message, "see examples/laptop.yaml", place=origin.place(()))]
    problems = []
    kind = str(tree.entries["kind"][1].scalar) if "kind" in tree.entries else ""
    if kind not in KINDS:
        problems.append(Problem(("kind",), *_explain_kind(kind), place=origin.place(("kind",))))
    version = tree.entries["apiVersion"][1] if "apiVersion" in tree.entries else None
    if version is None or version.scalar != API_VERSION:
        said = f"{show(version.written)} is not known" if version and version.written else "is missing"
        if kind in KINDS or not kind or version is None:
            problems.append(
                Problem(("apiVersion",), said, f"write apiVersion: {API_VERSION}", place=origin.place(("apiVersion",)))
            )
    return problems or KINDS[kind]


_KIND_MEANT = {
    "Gateway": "ModelGateway",
    "InferenceGateway": "ModelGateway",
    "User": "Tenant",
    "LLM": "Model",
    "InferenceService": "Model",
}


def _explain_kind(kind: str) -> tuple[str, str]:
    if not kind:
        return "is missing", "write kind: Model (or ModelGateway, Tenant)"
    if kind == "List":
        return "a List is not read", "write its items as documents of their own, separated by ---"
    near = _KIND_MEANT.get(kind) or next(iter(get_close_matches(kind.capitalize(), KINDS, 1, cutoff=0.7)), None)
    hint = (
        f"did you mean {near}?"
        if near
        else "Remuda reads Model, ModelGateway and Tenant; apply other kinds with kubectl"
    )
    return f"{show(kind)} is not a kind of Remuda", hint


def _only_follows(origin: Origin, detail: ErrorDetails) -> bool:
    """Whether the error only follows from others: pydantic calls a list too short when its items are wrong."""
    node = origin.node(tuple(detail["loc"]))
    return detail["type"] == "too_short" and node is not None and bool(node.items or node.entries)


def _locate(origin: Origin, kind: type[AnyKind], detail: ErrorDetails) -> Problem:
    path, is_key = _clean_path(tuple(detail["loc"]))
    path += tuple((detail.get("ctx") or {}).get("at") or ())
    node = origin.node(path)
    unknown = detail["type"] == "extra_forbidden"
    message, hint = explain(kind, path, origin.key_node(path) if is_key else node, detail)
    at_key = unknown or is_key or detail["type"] == "missing"
    return Problem(path, message, hint, place=origin.key_place(path) if at_key else origin.place(path))


class _Written:
    """Gives a rule access to the fields of a mapping that is not a valid object, by their Python names."""

    def __init__(self, tree: Node) -> None:
        self._entries = tree.entries or {}

    def has(self, name: str) -> bool:
        return to_camel(name) in self._entries

    def __getattr__(self, name: str) -> object:
        if not self.has(name):
            raise AttributeError(name)
        return self._entries[to_camel(name)][1].scalar


def _find_broken_rules(origin: Origin, kind: type[AnyKind]) -> Iterator[Problem]:
    """Check the rules over several fields in an object with other problems, because pydantic skips them there."""
    for path, node in origin.tree.walk():
        shape = shape_at(kind, path) if node.entries is not None else None
        for rule in shape.rules if shape is not None else ():
            try:
                holds = rule.holds(_Written(node))
            except (AttributeError, TypeError):
                continue
            if not holds:
                yield Problem((*path, *rule.at), rule.message, rule.hint, place=origin.place((*path, *rule.at)))


def _clean_path(loc: FieldPath) -> tuple[FieldPath, bool]:
    """The path without pydantic's last step `[key]`, and whether the error is in the key of a mapping."""
    is_key = bool(loc) and loc[-1] == "[key]"
    return (loc[:-1] if is_key else loc), is_key
