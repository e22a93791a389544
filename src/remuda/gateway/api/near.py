"""Finds the known names that resemble an unknown one, for "Did you mean …?".

Two names resemble each other when they share most of their letter pairs (the Sørensen-Dice coefficient of the sets of
pairs). The pairs of the known names are computed once, so one look-up costs one set intersection per known name: a
client that asks for unknown names on purpose costs the event loop a few microseconds each. Names that are longer than
any known name by half are not compared at all. Does not know routes or fields.
"""

from collections.abc import Iterable
from typing import Final

_SIMILARITY: Final = 0.6
"""Share of pairs in common from which a name is offered; difflib uses the same number for its ratio."""


class KnownNames:
    """A fixed set of names."""

    __slots__ = ("_longest", "_pairs")

    def __init__(self, names: Iterable[str]) -> None:
        self._pairs = tuple((name, _pairs_of(name)) for name in sorted(set(names)))
        self._longest = max(len(name) for name, _ in self._pairs) * 3 // 2

    def find_near(self, asked: str, most: int = 2) -> list[str]:
        """The names that resemble `asked`, the most similar first; at most `most`."""
        if len(asked) > self._longest:
            return []
        pairs = _pairs_of(asked)
        found = []
        for name, known in self._pairs:
            similarity = 2 * len(pairs & known) / (len(pairs) + len(known))
            if similarity >= _SIMILARITY:
                found.append((-similarity, name))
        return [name for _, name in sorted(found)[:most]]


def _pairs_of(name: str) -> frozenset[str]:
    """The letter pairs of a name without regard to case. The ends count: "^" stands before it and "$" behind it."""
    padded = f"^{name.lower()}$"
    return frozenset([padded[index : index + 2] for index in range(len(padded) - 1)])
