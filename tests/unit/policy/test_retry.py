import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.policy.retry import Phase, RetryBudget, may_retry


@pytest.mark.parametrize(
    ("phase", "safe", "attempts", "expected"),
    [
        (Phase.CONNECT, True, 1, True),
        (Phase.CONNECT, False, 1, True),
        (Phase.SENT, True, 1, True),
        (Phase.SENT, False, 1, False),
        (Phase.STREAMING, True, 1, False),
        (Phase.STREAMING, False, 1, False),
        (Phase.CONNECT, True, 3, False),
        (Phase.SENT, True, 4, False),
    ],
    ids=[
        "nothing sent: always",
        "nothing sent: even when unsafe",
        "sent, nothing received: when safe",
        "sent, nothing received: not when unsafe",
        "first byte is out: never",
        "first byte is out, unsafe: never",
        "no attempts left",
        "beyond the attempts",
    ],
)
def test_a_retry_depends_on_how_far_the_try_had_come(phase, safe, attempts, expected):
    assert may_retry(phase, safe, attempts, most_attempts=3) is expected


def test_phases_compare_by_progress():
    assert Phase.CONNECT < Phase.SENT < Phase.STREAMING


def test_a_budget_starts_full_and_is_refilled_by_requests():
    budget = RetryBudget(ratio=0.5, per_s=0.0, most=2.0, now_at=0.0)
    assert [budget.take(0.0) for _ in range(3)] == [True, True, False]
    budget.count_request()
    assert not budget.take(0.0)
    budget.count_request()
    assert budget.take(0.0)


def test_a_budget_is_refilled_by_time_so_that_a_quiet_gateway_can_retry():
    budget = RetryBudget(ratio=0.0, per_s=0.5, most=1.0, now_at=100.0)
    assert budget.take(100.0)
    assert not budget.take(101.0)
    assert budget.take(102.0)


def test_a_clock_that_steps_back_adds_nothing_and_breaks_nothing():
    budget = RetryBudget(ratio=0.0, per_s=1.0, most=1.0, now_at=100.0)
    assert budget.take(100.0)
    assert not budget.take(50.0)
    assert not budget.take(100.5)
    assert budget.take(101.0)


@given(
    st.floats(0.0, 1.0),
    st.floats(0.0, 5.0),
    st.floats(0.0, 20.0),
    st.lists(st.one_of(st.none(), st.floats(0.0, 10.0)), max_size=200),
)
def test_retries_never_exceed_the_fill_of_the_bucket(ratio, per_s, most, events):
    """None = a request; a number = that much later, somebody wants a retry."""
    budget = RetryBudget(ratio, per_s, most, now_at=0.0)
    requests = retries = 0
    now_at = 0.0
    for event in events:
        if event is None:
            budget.count_request()
            requests += 1
        else:
            now_at += event
            retries += budget.take(now_at)
    assert retries <= most + ratio * requests + per_s * now_at + 1e-6
