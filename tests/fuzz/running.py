"""The loop: take an input, change it, check it, keep it when it is new.

Does not know what the inputs mean.
"""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

MOST_KEPT = 2000
"""Inputs that were interesting enough to be changed further, beyond the corpus."""
MOST_CHANGES = 4


class RuleBrokenError(AssertionError):
    """The gateway and an oracle disagree, or a promise was not kept."""


@dataclass(frozen=True)
class Reading:
    """How an input was read."""

    accepted: bool
    """Whether any of it was accepted to its end: such inputs are worth changing further when their shape is new."""
    shape: Hashable


@dataclass(frozen=True)
class Target:
    """Something to be fuzzed."""

    name: str
    corpus: Mapping[str, bytes]
    change: Callable[[bytes, Random, list[bytes]], bytes]
    """An input, slightly changed; the list are other inputs to take pieces from."""
    check: Callable[[bytes, Random], Reading]
    """Checks the rules. Raises RuleBrokenError."""


@dataclass
class Report:
    """What a run has seen."""

    target: str
    executions: int = 0
    accepted: int = 0
    readings: set[Reading] = field(default_factory=set)
    broken: list[tuple[bytes, str]] = field(default_factory=list)
    """Inputs that break a rule, and how."""


def fuzz(target: Target, seed: int, goes_on: Callable[[int], bool]) -> Report:
    """Check changed inputs while `goes_on(executions)`; the same seed gives the same inputs."""
    rng = Random(f"{target.name} {seed}")
    report = Report(target.name)
    kept = list(target.corpus.values())
    while goes_on(report.executions):
        data = rng.choice(kept)
        for _ in range(rng.randint(1, MOST_CHANGES)):
            data = target.change(data, rng, kept)
        report.executions += 1
        try:
            reading = target.check(data, rng)
        except RuleBrokenError as broken:
            report.broken.append((data, str(broken)))
            continue
        if reading.accepted:
            report.accepted += 1
            if reading not in report.readings and len(kept) < MOST_KEPT:
                kept.append(data)
        report.readings.add(reading)
    return report


def for_executions(count: int) -> Callable[[int], bool]:
    return lambda executions: executions < count


def for_seconds(seconds: float) -> Callable[[int], bool]:
    end_at = time.monotonic() + seconds
    return lambda _: time.monotonic() < end_at


def cut(data: bytes, rng: Random, most: int = 8) -> Iterator[bytes]:
    """The same bytes in pieces, as a network would deliver them."""
    count = rng.choice((0, 0, 1, 2, most)) if data else 0
    places = sorted({rng.randrange(len(data)) for _ in range(count)} | {0})
    for start, end in zip(places, [*places[1:], len(data)], strict=True):
        if start < end:
            yield data[start:end]
