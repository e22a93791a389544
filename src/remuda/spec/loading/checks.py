"""Checks that need the text or several documents: secrets, missing values, and names that are used twice.

They run beside the field checks of pydantic. They do not know what the fields mean, except the names of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from remuda.spec.documents.model import Model
from remuda.spec.loading.loaded import AnyKind, ObjectId, Origin, identify
from remuda.spec.problem import FieldPath, Place, Problem
from remuda.spec.secrets import looks_secret, names_secret, show

_REFER_TO_IT = (
    "keep it in an environment variable, a file or a Kubernetes Secret, and refer to it (env, file, or secret and key)"
)


def find_secrets(origin: Origin) -> Iterator[Problem]:
    """Report every word of the document that looks like a secret, and every variable whose name says it holds one."""
    for path, node in origin.tree.walk():
        if looks_secret(node.written):
            place = origin.lines.place(node.index)
            shown = tuple(step if isinstance(step, int) or not looks_secret(step) else "(secret)" for step in path)
            yield Problem(shown, "this looks like a secret; secrets do not belong in a file", _REFER_TO_IT, place=place)
        elif node.entries and "name" in node.entries and "value" in node.entries and "env" in path:
            name, value = node.entries["name"][1], node.entries["value"][1]
            if names_secret(name.written) and value.written and not looks_secret(value.written):
                message = f"the value of {show(name.written)} is a secret by its name; secrets do not belong in a file"
                hint = "write valueFrom: with env, file, or secret and key"
                yield Problem((*path, "value"), message, hint, place=origin.lines.place(value.index))


def find_missing_values(origin: Origin) -> Iterator[Problem]:
    """Report fields and items without a value.

    The API server refuses them, so a missing value does not mean the default here either.
    """
    for path, node in origin.tree.walk():
        if path and node.is_empty and origin.key_node(path) is not node:
            hint = "remove the line for the default, or write a value"
            yield Problem(path, "has no value", hint, place=origin.place(path))
        elif path and node.is_empty and isinstance(path[-1], int):
            yield Problem(path, "has no value", "remove the item, or write one", place=origin.place(path))


def find_name_clashes(found: Sequence[tuple[AnyKind, Origin]]) -> Iterator[Problem]:
    """Report every document whose name exists already, and every model name that two models claim."""
    seen: dict[ObjectId, Origin] = {}
    claimed: dict[tuple[str | None, str], tuple[str, Place]] = {}
    for written, origin in found:
        first = seen.setdefault(identify(written), origin)
        if first is not origin:
            path: FieldPath = ("metadata", "name")
            message = f"there is a {written.kind} {show(written.name)} already, at {first.place(path)}"
            yield Problem(path, message, "give one of them another name", place=origin.place(path))
            continue
        for claim, name in _claimed_names(written):
            mine = (written.name, origin.place(claim))
            owner = claimed.setdefault((written.metadata.namespace, name), mine)
            if owner is not mine:
                message = f"the name {show(name)} is taken by the model {show(owner[0])}, at {owner[1]}"
                yield Problem(claim, message, "clients could not tell them apart; use another name", place=mine[1])


def _claimed_names(written: AnyKind) -> Iterator[tuple[FieldPath, str]]:
    """The names under which clients can ask for a model and its adapters, each with its path."""
    if not isinstance(written, Model):
        return
    yield ("spec", "servedName") if written.spec.served_name else ("metadata", "name"), written.served_name
    for number, alias in enumerate(written.spec.aliases):
        yield ("spec", "aliases", number), alias
    for number, adapter in enumerate(written.spec.engine.adapters):
        yield ("spec", "engine", "adapters", number, "name"), adapter.name
        for alias_number, alias in enumerate(adapter.aliases):
            yield ("spec", "engine", "adapters", number, "aliases", alias_number), alias
