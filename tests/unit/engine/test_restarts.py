"""Waits between starts."""

from hypothesis import given
from hypothesis import strategies as st

from remuda.engine.restarts import BackoffSettings, wait_s

SETTINGS = BackoffSettings()


def test_waits_double_to_a_bound():
    assert [wait_s(deaths, 0.0, SETTINGS) for deaths in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_is_never_shorter_than_the_first_nor_longer_than_the_bound_with_jitter(deaths, chance):
    seconds = wait_s(deaths, chance, SETTINGS)
    assert SETTINGS.first_s <= seconds <= SETTINGS.longest_s * (1 + SETTINGS.jitter)
