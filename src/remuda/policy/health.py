"""Which engines may be picked: a state machine per endpoint, as a pure function of (health, event, time).

        fault                    `eject_after` faults with no answer between
HEALTHY ─────▶ SUSPECT ──────────────────────────────────────▶ EJECTED (1 s, 2 s, 4 s … 60 s)
   ▲  ok / probe_ok │                                          │   ▲ probe_failed or a fault: longer
   ├────────────────┘                              its time is up  │
   └────────────── PROBING ◀───────────────────────────────────┘───┘
        ok / `return_after` times probe_ok in a row

* Only faults of the engine are events. A client's bad request, a client that leaves and a refusal by overload are not.
* A SUSPECT endpoint is avoided while there is a better one, so traffic moves away with the first fault.
* A good probe ends suspicion and does not reset the fault count, because vLLM answers 200 on /health while it hangs and
  while it drains. Only a real answer resets the count. After an ejection the first fault ejects again.
* When every endpoint is ejected, the least bad ones are picked and `Pool.panic` says so: a wrong health check must not
  turn into an outage.

Does not know how a probe is made, nor that a hung engine is replaced (policy/hung.py).
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace


class State(enum.StrEnum):
    """How far an endpoint is trusted, best first."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    PROBING = "probing"
    EJECTED = "ejected"


class Event(enum.Enum):
    """What was seen of an endpoint."""

    OK = "ok"  # a real request's answer began with anything but a 5xx
    PROBE_OK = "probe_ok"
    PROBE_FAILED = "probe_failed"
    CONNECT_FAILED = "connect_failed"
    ENGINE_ERROR = "engine_error"  # 5xx, other than a refusal by overload
    TIMED_OUT = "timed_out"  # no first byte in time
    BROKEN = "broken"  # closed in the middle of an answer


@dataclass(frozen=True, slots=True)
class HealthSettings:
    eject_after: int = 3
    """Faults without a real answer between them that eject an endpoint."""
    return_after: int = 2
    """Good probes in a row that end an ejection; a real answer ends it at once."""
    first_ejection_s: float = 1.0
    """A local engine that crashed is back in seconds, and a short network failure is over sooner."""
    longest_ejection_s: float = 60.0
    """The doubling stops here: a repaired engine waits at most this long for its probe."""
    forget_after_s: float = 300.0
    """An endpoint healthy for this long starts again from the shortest ejection."""


@dataclass(frozen=True, slots=True)
class Health:
    """One endpoint's health. `since_at` = when it entered `state`; `until_at` = when an ejection is over; `successes` =
    good probes since then."""

    state: State
    since_at: float
    failures: int = 0
    ejections: int = 0
    until_at: float = 0.0
    successes: int = 0


@dataclass(frozen=True, slots=True)
class Pool:
    """The candidates to pick among, as indices; `panic` when they are all ejected."""

    indices: tuple[int, ...]
    panic: bool


_GOOD = frozenset({Event.OK, Event.PROBE_OK})


def next_health(
    health: Health, event: Event, now_at: float, settings: HealthSettings, *, certain: bool = True
) -> Health:
    """The health after `event`. Returns the same object when nothing changes, which is the hot path.

    certain    the engine is at fault, and not the request that failed there (`blame`). Without certainty the engine
               becomes SUSPECT and no more: one client's bad requests never eject it.
    """
    if event in _GOOD:
        return _after_good(health, event, now_at, settings)
    if health.state is State.EJECTED:
        return health  # the rest of its requests fail too; that is one fault, not many
    if not certain:
        if health.state is State.HEALTHY:
            return replace(health, state=State.SUSPECT, since_at=now_at)
        return health
    failures = health.failures + 1
    if health.state is State.PROBING or failures >= settings.eject_after:
        return _eject(health, now_at, settings)
    since_at = health.since_at if health.state is State.SUSPECT else now_at
    return replace(health, state=State.SUSPECT, since_at=since_at, failures=failures)


def _after_good(health: Health, event: Event, now_at: float, settings: HealthSettings) -> Health:
    real = event is Event.OK
    if health.state is State.HEALTHY:
        if not real or (not health.failures and not health.ejections):
            return health
        forgiven = now_at - health.since_at >= settings.forget_after_s
        ejections = 0 if forgiven else health.ejections
        if not health.failures and ejections == health.ejections:
            return health
        return replace(health, failures=0, ejections=ejections)
    if health.state is State.EJECTED:
        # A late answer, or one picked in panic: a reason to probe now, not a proof.
        return replace(health, until_at=now_at) if real and now_at < health.until_at else health
    if health.state is State.PROBING and not real and health.successes + 1 < settings.return_after:
        return replace(health, successes=health.successes + 1)
    failures = 0 if real else health.failures
    return replace(health, state=State.HEALTHY, since_at=now_at, failures=failures, until_at=0.0, successes=0)


def _eject(health: Health, now_at: float, settings: HealthSettings) -> Health:
    doublings = min(health.ejections, 30)
    length_s = min(settings.first_ejection_s * 2.0**doublings, settings.longest_ejection_s)
    return Health(State.EJECTED, now_at, max(settings.eject_after - 1, 0), health.ejections + 1, now_at + length_s)


def begin_probe(health: Health, now_at: float) -> Health:
    """EJECTED becomes PROBING once its time is up; everything else stays as it is."""
    if health.state is State.EJECTED and now_at >= health.until_at:
        return replace(health, state=State.PROBING, since_at=now_at)
    return health


def wants_probe(health: Health, now_at: float) -> bool:
    """Whether a probe should be sent now rather than at the next interval."""
    if health.state is State.EJECTED:
        return now_at >= health.until_at
    return health.state in {State.SUSPECT, State.PROBING}


_TRUST = (State.HEALTHY, State.SUSPECT, State.PROBING)


def choose_pool(healths: Sequence[Health]) -> Pool:
    """The most trusted endpoints, by index. Called when a health or the table changes, not per request."""
    for state in _TRUST:
        indices = tuple(index for index, health in enumerate(healths) if health.state is state)
        if indices:
            return Pool(indices, panic=False)
    fewest = min((health.ejections for health in healths), default=0)
    return Pool(tuple(i for i, health in enumerate(healths) if health.ejections == fewest), panic=bool(healths))
