"""The memory that request bodies may take."""

import pytest

from remuda.gateway.http.body_budget import BodyBudget
from remuda.gateway.http.refusal import Reason


def test_bytes_are_counted_as_they_come_and_given_back():
    budget = BodyBudget(100, 50)
    assert [budget.take("a", 20), budget.take("a", 30), budget.take("b", 50)] == [None] * 3
    assert budget.held_bytes == 100
    budget.give_back("a", 50)
    budget.give_back("b", 10)
    assert budget.held_bytes == 40
    assert [budget.take("a", 50), budget.take("b", 10)] == [None, None]


@pytest.mark.parametrize(
    ("client", "size", "reason"),
    [
        pytest.param("a", 20, None, id="within both bounds"),
        pytest.param("a", 21, Reason.CLIENT_BODIES_FULL, id="one byte over the client's bound"),
        pytest.param("c", 40, None, id="up to the bound of all"),
        pytest.param("c", 41, Reason.BODIES_FULL, id="one byte over the bound of all"),
        pytest.param("a", 1000, Reason.BODIES_FULL, id="over both bounds"),
    ],
)
def test_what_is_too_much_is_refused_and_not_counted(client, size, reason):
    budget = BodyBudget(100, 50)
    budget.take("a", 30)
    budget.take("b", 30)
    assert budget.take(client, size) is reason
    assert budget.held_bytes == 60 + (size if reason is None else 0)


def test_clients_that_hold_nothing_are_forgotten():
    budget = BodyBudget(100, 50)
    for number in range(1000):
        budget.take(f"client {number}", 10)
        budget.give_back(f"client {number}", 10)
    assert (budget.held_bytes, budget._by_client) == (0, {})


def test_refused_clients_that_hold_nothing_are_not_remembered():
    budget = BodyBudget(100, 50)
    assert budget.take("a", 51) is Reason.CLIENT_BODIES_FULL
    assert budget._by_client == {}
