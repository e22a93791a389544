"""Files in, checked objects out; or every problem there is, each with file, line and column.

Does: offer the three ways in, and remember where each object was written.
Does not know: how files are read (`reading`, imported when there is one to read) or whether it makes sense (`planner`).
Called by: every command that takes a model file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from remuda.spec.gateway import ModelGateway
from remuda.spec.model import Model
from remuda.spec.problem import FieldPath, Place
from remuda.spec.tenant import Tenant

if TYPE_CHECKING:
    from remuda.spec.lines import Lines
    from remuda.spec.tree import Node

AnyKind = Model | ModelGateway | Tenant
ObjectId = tuple[str, str | None, str]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an object was written."""

    lines: Lines
    tree: Node

    def place(self, path: FieldPath) -> Place:
        """The position of the deepest part of the path that was written."""
        node, index = self.tree, self.tree.index
        for step in path:
            found = node.step(step)
            if found is None:
                break
            key, node = found
            index = node.index if node.written or node.entries is not None or node.items is not None else key.index
        return self.lines.place(index)

    def key_place(self, path: FieldPath) -> Place:
        """The position of the name of the deepest field of the path that was written."""
        node, index = self.tree, self.tree.index
        for step in path:
            found = node.step(step)
            if found is None:
                break
            key, node = found
            index = key.index
        return self.lines.place(index)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files contain, all of it checked."""

    models: tuple[Model, ...] = ()
    gateways: tuple[ModelGateway, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    origins: Mapping[ObjectId, Origin] = field(default_factory=dict, repr=False, compare=False)

    def place(self, written: AnyKind, path: FieldPath) -> Place | None:
        """Where a field of an object stands; the nearest field above it when it was left out."""
        origin = self.origins.get(identify(written))
        return origin.place(path) if origin else None


def identify(written: AnyKind) -> ObjectId:
    """What makes an object the same one: kind, namespace and name."""
    return written.kind, written.metadata.namespace, written.metadata.name


def load_files(paths: Sequence[Path]) -> Loaded:
    """Read and check files together. Raises SpecError with every problem of all of them."""
    from remuda.spec.lines import decode, read_file
    from remuda.spec.reading import read_texts

    return read_texts(
        [decode(str(path), data) if isinstance(data := read_file(path), bytes) else data for path in paths]
    )


def load_text(text: str, name: str = "<text>") -> Loaded:
    """Read and check one text. Raises SpecError with every problem."""
    from remuda.spec.lines import check_text
    from remuda.spec.reading import read_texts

    return read_texts([check_text(name, text)])


def load_bytes(data: bytes, name: str = "<input>") -> Loaded:
    """Read and check one file's content. Raises SpecError with every problem."""
    from remuda.spec.lines import decode
    from remuda.spec.reading import read_texts

    return read_texts([decode(name, data)])
