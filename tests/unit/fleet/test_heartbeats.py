"""Checks are counted, not seconds: no test here waits for time."""

import asyncio

import pytest

from remuda.fleet.gateway_process import HeartbeatMonitor


class Checks:
    """A monitor whose waits end at once: each entry of `happenings` is what happens before one check."""

    def __init__(self, *happenings: str) -> None:
        self.left = list(happenings)
        self.count = 0
        self.heartbeats = HeartbeatMonitor(check_s=3600.0, silent_checks=3, wait=self._pass)

    async def _pass(self, _seconds: float) -> None:
        self.count += 1
        if not self.left:
            raise asyncio.CancelledError
        for _ in range(self.left.pop(0).count("beat")):
            self.heartbeats.note_heartbeat()


@pytest.mark.parametrize(
    ("happenings", "checks"),
    [
        (("", "", ""), 3),
        (("beat", "", "", ""), 4),
        (("", "", "beat", "", "", ""), 6),
        (("", "", "beat beat beat", "", "beat", "", "", ""), 8),
    ],
    ids=["no heartbeat", "one at the start", "one in between", "several before one check count once"],
)
async def test_silence_is_several_checks_in_a_row_without_a_heartbeat(happenings: tuple[str, ...], checks: int) -> None:
    watched = Checks(*happenings)
    await watched.heartbeats.until_silent()
    assert watched.count == checks


async def test_rare_heartbeats_are_no_silence_however_long_a_check_takes() -> None:
    """Each wait stands for an hour, as when this process is stopped: only heartbeats in between count."""
    watched = Checks(*["", "", "beat"] * 20)
    with pytest.raises(asyncio.CancelledError):
        await watched.heartbeats.until_silent()
    assert watched.count == 61


async def test_the_count_starts_again_for_the_next_process() -> None:
    watched = Checks("", "", "", "", "", "")
    await watched.heartbeats.until_silent()
    await watched.heartbeats.until_silent()
    assert watched.count == 6


def test_patience_is_given_in_seconds() -> None:
    assert HeartbeatMonitor(check_s=0.5, silent_checks=4).patience_s == 2.0
