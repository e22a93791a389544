"""Decides how long to wait before an engine is started again. Pure: chance is an argument."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackoffSettings:
    """The waits between restarts. A wait grows with each death in a row; a good run resets it to `first_s`."""

    first_s: float = 1.0
    """After the first death. An engine needs seconds to start anyway, so a shorter wait gains nothing."""
    factor: float = 2.0
    longest_s: float = 60.0
    """A machine that recovers (memory freed, disk emptied) is noticed within a minute."""
    jitter: float = 0.25
    """Share by which a wait is lengthened at random, so that engines that died together do not start together."""
    good_run_s: float = 120.0
    """After an engine was ready for this long, its next death counts as the first one."""
    crash_loop_after: int = 3
    """So many deaths in a row are called a crash loop."""


class DeathCounter:
    """Counts deaths in a row."""

    def __init__(self, settings: BackoffSettings) -> None:
        self._settings = settings
        self.deaths = 0

    @property
    def is_crash_loop(self) -> bool:
        return self.deaths >= self._settings.crash_loop_after

    def forget_after(self, ready_s: float) -> None:
        """Start to count anew if the last run was ready for long enough."""
        if ready_s >= self._settings.good_run_s:
            self.deaths = 0

    def count(self) -> None:
        """One more death."""
        self.deaths += 1

    def wait_s(self, chance: float) -> float:
        """Seconds to wait before the next start; `chance` is 0..1."""
        grown = self._settings.first_s * self._settings.factor ** min(self.deaths - 1, 30)
        return min(grown, self._settings.longest_s) * (1 + self._settings.jitter * chance)
