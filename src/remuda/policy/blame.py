"""Who is at fault when a request fails: the engine, or the request itself.

One client whose requests make every engine answer 500 must not eject the whole fleet. A failed attempt alone does not
tell; what happened to the same request on another engine does:

* it was answered elsewhere: the engines that failed are at fault;
* it failed on two engines: the request is the suspect, and no engine is blamed;
* it was tried on one engine only: that engine is suspected, but never ejected for it.

An engine that refuses connections, or says that it shuts down, is at fault whatever the request was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from remuda.policy.health import Event

_ENGINES_FOR_A_SUSPECT: Final = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt. `certain`: the request cannot be the cause."""

    engine_id: str
    event: Event
    certain: bool


@dataclass(frozen=True, slots=True)
class Blame:
    """What an engine's health is told. Without certainty it is suspected, and not ejected."""

    engine_id: str
    event: Event
    certain: bool


def decide_blame(failures: Sequence[Failure], answered: bool) -> list[Blame]:
    """What to tell which engine, once a request has ended. `answered`: some engine answered it well in the end."""
    if answered:
        return [Blame(failure.engine_id, failure.event, certain=True) for failure in failures]
    suspect = is_suspect(failures)
    return [
        Blame(failure.engine_id, failure.event, failure.certain)
        for failure in failures
        if failure.certain or not suspect
    ]


def is_suspect(failures: Sequence[Failure]) -> bool:
    """Whether a request has failed on so many engines that it is the likely cause itself."""
    uncertain = {failure.engine_id for failure in failures if not failure.certain}
    return len(uncertain) >= _ENGINES_FOR_A_SUSPECT
