"""Reads the declared classes: the name of each field in a file, its type, and its documentation.

It walks all fields below a class, finds the class or type at a path, and extracts the text below each field. It does
not know YAML or any schema language.
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
    """The type of a field without `Annotated` and without `| None`."""
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
    """The class of the object that a field holds, as itself, in a list or in a mapping; None if it holds no object."""
    kind = bare_type(annotation)
    if get_origin(kind) in {tuple, dict}:
        return shape_of(get_args(kind)[0 if get_origin(kind) is tuple else 1])
    return kind if isinstance(kind, type) and issubclass(kind, Shape) else None


def field_names(shape: type[Shape]) -> dict[str, FieldInfo]:
    """The fields of a class by their names in a file."""
    return {info.alias or name: info for name, info in shape.model_fields.items()}


def shape_at(root: type[Shape], path: FieldPath) -> type[Shape] | None:
    """The class of the object at a path, or None if no such field is declared."""
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
    """The type of the field, list item or mapping value at a path, or None if no such field is declared."""
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
    """One declared field and its place in a document."""

    path: tuple[str, ...]
    info: FieldInfo
    owner: type[Shape]
    attribute: str


def walk_fields(root: type[Shape], path: tuple[str, ...] = ()) -> Iterator[Field]:
    """Every field below a class, depth first and in the order of declaration. `[]` in a path marks list items."""
    for name, info in root.model_fields.items():
        here = (*path, info.alias or name)
        yield Field(here, info, root, name)
        below = shape_of(info.annotation)
        if below is not None:
            many = get_origin(bare_type(info.annotation)) is tuple
            yield from walk_fields(below, (*here[:-1], here[-1] + "[]") if many else here)


def field_docs(shape: type[Shape]) -> dict[str, str]:
    """The text below each field of a class and of its base classes, by attribute name."""
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
