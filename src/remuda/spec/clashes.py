"""Objects that cannot live together: one name twice, or two models that answer to one name.

Does not know: fields other than names.
Called by: `reading`, over all files that are loaded together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from remuda.spec.credentials import show
from remuda.spec.loading import AnyKind, ObjectId, Origin, identify
from remuda.spec.model import Model
from remuda.spec.problem import FieldPath, Place, Problem


def find_clashes(found: Sequence[tuple[AnyKind, Origin]]) -> Iterator[Problem]:
    """Every object that repeats a name."""
    seen: dict[ObjectId, Origin] = {}
    claimed: dict[tuple[str | None, str], tuple[str, Place]] = {}
    for written, origin in found:
        first = seen.setdefault(identify(written), origin)
        if first is not origin:
            path: FieldPath = ("metadata", "name")
            message = f"there is a {written.kind} {show(written.name)} already, at {first.place(path)}"
            yield Problem(path, message, "give one of them another name", place=origin.place(path))
            continue
        for claim, name in _claims(written):
            mine = (written.name, origin.place(claim))
            owner = claimed.setdefault((written.metadata.namespace, name), mine)
            if owner is not mine:
                message = f"the name {show(name)} is taken by the model {show(owner[0])}, at {owner[1]}"
                yield Problem(claim, message, "clients could not tell them apart; use another name", place=mine[1])


def _claims(written: AnyKind) -> Iterator[tuple[FieldPath, str]]:
    """Names under which clients can ask for a model and its adapters."""
    if not isinstance(written, Model):
        return
    yield ("spec", "servedName") if written.spec.served_name else ("metadata", "name"), written.served_name
    for number, alias in enumerate(written.spec.aliases):
        yield ("spec", "aliases", number), alias
    for number, adapter in enumerate(written.spec.engine.adapters):
        yield ("spec", "engine", "adapters", number, "name"), adapter.name
        for alias_number, alias in enumerate(adapter.aliases):
            yield ("spec", "engine", "adapters", number, "aliases", alias_number), alias
