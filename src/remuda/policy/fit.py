"""Which model takes a request that names none. Pure.

A model fits when it has the wanted capability and takes that many tokens; of those that have an engine, the one whose
least busy engine has the least work is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """What one model can do now."""

    capabilities: tuple[str, ...]
    max_tokens: int | None
    """Largest max_tokens it takes; None = any."""
    least_work_tokens: int | None
    """Work of its least busy engine; None = no engine may be picked."""


def fits(offer: Offer, wanted: str, max_tokens: int | None) -> bool:
    """Whether the model could take the request if it had an engine."""
    if wanted not in offer.capabilities:
        return False
    return offer.max_tokens is None or max_tokens is None or max_tokens <= offer.max_tokens


def choose_model(offers: Sequence[Offer], wanted: str, max_tokens: int | None) -> int | None:
    """The index of the model to take; None when none fits and is ready. Ties go to the first."""
    best: int | None = None
    least = 0
    for index, offer in enumerate(offers):
        work = offer.least_work_tokens
        if work is None or not fits(offer, wanted, max_tokens):
            continue
        if best is None or work < least:
            best, least = index, work
    return best
