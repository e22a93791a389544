"""What fields there are: names in a file, types, units and sentences of documentation, read from the classes
themselves.

Does: walk the declared shapes; find the field nearest to a wrong name; extract the text below each field.
Does not know: YAML or any schema language.
Called by: `explain` (hints), `schema`, `crd` and `reference` (generated files).
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from remuda.spec.documents.shape import Shape
from remuda.spec.problem import FieldPath


def bare_type(annotation: object) -> object:
    """The type without `Annotated` and without `| None`."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in {Union, types.UnionType}:
            rest = [part for part in get_args(annotation) if part is not type(None)]
            if len(rest) != 1:
                return annotation
            annotation = rest[0]
        else:
            return annotation


def shape_of(annotation: object) -> type[Shape] | None:
    """The class of objects, list items or mapping values that the annotation holds, if they are shapes."""
    kind = bare_type(annotation)
    if get_origin(kind) in {tuple, dict}:
        return shape_of(get_args(kind)[0 if get_origin(kind) is tuple else 1])
    return kind if isinstance(kind, type) and issubclass(kind, Shape) else None


def field_names(shape: type[Shape]) -> dict[str, FieldInfo]:
    """Fields by the name they have in a file."""
    return {info.alias or name: info for name, info in shape.model_fields.items()}


def shape_at(root: type[Shape], path: FieldPath) -> type[Shape] | None:
    """The class of the object at a path, or None when the path leaves the declared fields."""
    shape: type[Shape] | None = root
    for step in path:
        if isinstance(step, int):
            continue
        info = field_names(shape).get(step) if shape else None
        if info is None:
            return None
        shape = shape_of(info.annotation)
    return shape


def annotation_at(root: type[Shape], path: FieldPath) -> object:
    """The annotation of the field (or list item, or mapping value) at a path; None when there is none."""
    current: object = root
    for step in path:
        kind = bare_type(current)
        if get_origin(kind) in {tuple, dict}:
            current = get_args(kind)[0 if get_origin(kind) is tuple else 1]
        elif isinstance(kind, type) and issubclass(kind, Shape) and isinstance(step, str):
            info = field_names(kind).get(step)
            if info is None:
                return None
            current = info.annotation
        else:
            return None
    return bare_type(current)


@dataclass(frozen=True, slots=True)
class Field:
    """One field as documentation shows it."""

    path: tuple[str, ...]
    info: FieldInfo
    owner: type[Shape]
    attribute: str


def walk_fields(root: type[Shape], path: tuple[str, ...] = ()) -> Iterator[Field]:
    """Every field below a class, depth first, in the order of declaration; `[]` marks list items."""
    for name, info in root.model_fields.items():
        here = (*path, info.alias or name)
        yield Field(here, info, root, name)
        below = shape_of(info.annotation)
        if below is not None:
            many = get_origin(bare_type(info.annotation)) is tuple
            yield from walk_fields(below, (*here[:-1], here[-1] + "[]") if many else here)


def field_docs(shape: type[Shape]) -> dict[str, str]:
    """The text below each field of a class, by attribute name; inherited fields included."""
    docs: dict[str, str] = {}
    for owner in reversed(shape.__mro__):
        if not (issubclass(owner, Shape) and owner is not Shape):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        assert isinstance(tree.body[0], ast.ClassDef)
        body = tree.body[0].body
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and (doc := _text_of(text)):
                docs[field.target.id] = " ".join(doc.split())
    return docs


def _text_of(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return statement.value.value if isinstance(statement.value.value, str) else None
    return None
