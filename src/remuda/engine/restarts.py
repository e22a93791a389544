"""How long to wait before an engine is started again. Pure: chance is an argument. Called by `supervise`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackoffSettings:
    """Waiting grows with each death in a row, and is forgotten after a good run."""

    first_s: float = 1.0
    """After the first death: an engine needs seconds to start anyway, so nothing is gained by less."""
    factor: float = 2.0
    longest_s: float = 60.0
    """A machine that recovers (memory freed, disk emptied) is noticed within a minute."""
    jitter: float = 0.25
    """Share by which a wait is lengthened at random, so that engines that died together do not start together."""
    good_run_s: float = 120.0
    """Ready for this long = the next death is a first one again."""
    crash_loop_after: int = 3
    """Deaths in a row from which it is called a crash loop."""


def wait_s(deaths: int, chance: float, settings: BackoffSettings) -> float:
    """Seconds to wait after this many deaths in a row; `chance` is 0..1."""
    grown = settings.first_s * settings.factor ** min(deaths - 1, 30)
    return min(grown, settings.longest_s) * (1 + settings.jitter * chance)
