"""Waits between starts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.engine.restarts import BackoffSettings, DeathCounter

SETTINGS = BackoffSettings()


def waits_after(deaths: int, chance: float = 0.0) -> list[float]:
    """The wait after each of so many deaths in a row."""
    counter, waits = DeathCounter(SETTINGS), []
    for _ in range(deaths):
        counter.count()
        waits.append(counter.wait_s(chance))
    return waits


def test_waits_double_up_to_a_bound():
    assert waits_after(8) == [1, 2, 4, 8, 16, 32, 60, 60]


def test_the_third_death_in_a_row_is_a_crash_loop():
    counter, loops = DeathCounter(SETTINGS), []
    for _ in range(4):
        counter.count()
        loops.append(counter.is_crash_loop)
    assert loops == [False, False, True, True]


@pytest.mark.parametrize(("ready_s", "deaths"), [(119.9, 4), (120.0, 1)], ids=["short run", "good run"])
def test_only_a_good_run_makes_the_next_death_the_first_one(ready_s, deaths):
    counter = DeathCounter(SETTINGS)
    for _ in range(3):
        counter.count()
    counter.forget_after(ready_s)
    counter.count()
    assert counter.deaths == deaths


@given(st.integers(1, 100), st.floats(0, 1))
def test_a_wait_is_never_shorter_than_the_first_nor_longer_than_the_bound_with_jitter(deaths, chance):
    seconds = waits_after(deaths, chance)[-1]
    assert SETTINGS.first_s <= seconds <= SETTINGS.longest_s * (1 + SETTINGS.jitter)
