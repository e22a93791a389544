"""Looks are counted, not seconds: no test here waits for time."""

import asyncio

import pytest

from remuda.fleet.pulse import Pulse


class Looks:
    """The time between two looks: `happenings` are what happens in it, one call each; then nothing ever happens."""

    def __init__(self, *happenings: str) -> None:
        self.left = list(happenings)
        self.count = 0
        self.pulse = Pulse(look_s=3600.0, silent_looks=3, wait=self._pass)

    async def _pass(self, _seconds: float) -> None:
        self.count += 1
        if not self.left:
            raise asyncio.CancelledError
        for _ in range(self.left.pop(0).count("beat")):
            self.pulse.beat()


@pytest.mark.parametrize(
    ("happenings", "looks"),
    [
        (("", "", ""), 3),
        (("beat", "", "", ""), 4),
        (("", "", "beat", "", "", ""), 6),
        (("", "", "beat beat beat", "", "beat", "", "", ""), 8),
    ],
    ids=["never heard", "heard once", "heard in between", "several beats in one look are one"],
)
async def test_silence_is_several_silent_looks_in_a_row(happenings: tuple[str, ...], looks: int) -> None:
    watched = Looks(*happenings)
    await watched.pulse.until_silent()
    assert watched.count == looks


async def test_beats_now_and_then_are_life_however_long_a_look_takes() -> None:
    """Each look is an hour here, as when this process is stopped: only what is heard in between counts."""
    watched = Looks(*["", "", "beat"] * 20)
    with pytest.raises(asyncio.CancelledError):
        await watched.pulse.until_silent()
    assert watched.count == 61


async def test_a_new_watch_starts_patient_again() -> None:
    watched = Looks("", "", "", "", "", "")
    await watched.pulse.until_silent()
    await watched.pulse.until_silent()
    assert watched.count == 6


def test_patience_is_told_in_seconds() -> None:
    assert Pulse(look_s=0.5, silent_looks=4).patience_s == 2.0
