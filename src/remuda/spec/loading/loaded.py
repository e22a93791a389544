"""The result of loading files: checked documents, and the place in the text of each of their fields.

It does not know how text is read or checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from remuda.spec.documents.gateway import ModelGateway
from remuda.spec.documents.model import Model
from remuda.spec.documents.tenant import Tenant
from remuda.spec.loading.lines import Lines
from remuda.spec.loading.tree import Node
from remuda.spec.problem import FieldPath, Place

AnyKind = Model | ModelGateway | Tenant
ObjectId = tuple[str, str | None, str]


@dataclass(frozen=True, slots=True)
class Origin:
    """The text and the node tree that one document was read from."""

    lines: Lines
    tree: Node

    def node(self, path: FieldPath) -> Node | None:
        """The node of the value at a path; None when nothing is written there."""
        return self.tree.find(path)

    def key_node(self, path: FieldPath) -> Node | None:
        """The node of the last step's key in a mapping, or of the item in a list."""
        parent = self.tree.find(path[:-1])
        found = parent.step(path[-1]) if parent and path else None
        return found[0] if found else None

    def place(self, path: FieldPath) -> Place:
        """The position of the deepest written value on the path; of its key where the value has no text."""
        index = self.tree.index
        for key, node in self._written_steps(path):
            index = node.index if node.written or node.entries is not None or node.items is not None else key.index
        return self.lines.place(index)

    def key_place(self, path: FieldPath) -> Place:
        """The position of the deepest written key on the path."""
        index = self.tree.index
        for key, _ in self._written_steps(path):
            index = key.index
        return self.lines.place(index)

    def _written_steps(self, path: FieldPath) -> list[tuple[Node, Node]]:
        """Key node and value node of each step of the path, up to the first step that is not written."""
        steps: list[tuple[Node, Node]] = []
        node = self.tree
        for step in path:
            found = node.step(step)
            if found is None:
                break
            steps.append(found)
            node = found[1]
        return steps


@dataclass(frozen=True, slots=True)
class Loaded:
    """The documents of the files that were loaded together; all of them passed the checks."""

    models: tuple[Model, ...] = ()
    gateways: tuple[ModelGateway, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    origins: Mapping[ObjectId, Origin] = field(default_factory=dict, repr=False, compare=False)

    def place(self, written: AnyKind, path: FieldPath) -> Place | None:
        """The position of a field of a document, or of the nearest written field above it."""
        origin = self.origins.get(identify(written))
        return origin.place(path) if origin else None


def identify(written: AnyKind) -> ObjectId:
    """Kind, namespace and name: two documents with the same three are the same object."""
    return written.kind, written.metadata.namespace, written.metadata.name
