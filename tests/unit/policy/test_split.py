"""Weights between models: a name's requests are divided as its weights say, and evenly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.policy.split import pick_split


def picks(weights: list[int], count: int) -> list[int]:
    balances = [0] * len(weights)
    return [pick_split(weights, balances) for _ in range(count)]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=6).filter(any))
def test_each_part_gets_exactly_its_weight_in_every_round(weights):
    chosen = picks(weights, 3 * sum(weights))
    for start in range(0, len(chosen), sum(weights)):
        turn = chosen[start : start + sum(weights)]
        assert [turn.count(index) for index in range(len(weights))] == weights


def test_requests_of_a_small_part_are_spread_and_do_not_come_in_a_burst():
    assert picks([4, 1], 10) == [0, 0, 1, 0, 0, 0, 0, 1, 0, 0]


def test_part_without_weight_gets_nothing():
    assert set(picks([3, 0, 1], 40)) == {0, 2}


@pytest.mark.parametrize("weights", [[], [0], [0, 0]], ids=["no part", "one", "two"])
def test_weights_that_add_up_to_nothing_are_refused(weights):
    with pytest.raises(ValueError, match="no weight is above 0"):
        pick_split(weights, [0] * len(weights))
