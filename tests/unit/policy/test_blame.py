"""Who is at fault when a request fails."""

import pytest

from remuda.policy.blame import Blame, Failure, decide_blame, is_suspect
from remuda.policy.health import Event, Health, HealthSettings, State, next_health

A_500 = Failure("a", Event.ENGINE_ERROR, certain=False)
B_BROKEN = Failure("b", Event.BROKEN, certain=False)
C_SILENT = Failure("c", Event.TIMED_OUT, certain=False)
D_REFUSED = Failure("d", Event.CONNECT_FAILED, certain=True)
E_DRAINING = Failure("e", Event.ENGINE_ERROR, certain=True)


@pytest.mark.parametrize(
    ("failures", "answered", "blamed"),
    [
        pytest.param([], True, [], id="nothing failed"),
        pytest.param([A_500], True, [("a", True)], id="another engine answered"),
        pytest.param([A_500, B_BROKEN], True, [("a", True), ("b", True)], id="the third engine answered"),
        pytest.param([A_500], False, [("a", False)], id="one engine failed and there was no other"),
        pytest.param([A_500, B_BROKEN], False, [], id="two engines failed: the request is the suspect"),
        pytest.param([A_500, B_BROKEN, C_SILENT], False, [], id="three engines failed"),
        pytest.param([A_500, A_500], False, [("a", False), ("a", False)], id="one engine failed twice"),
        pytest.param([D_REFUSED], False, [("d", True)], id="one engine refused"),
        pytest.param([D_REFUSED, E_DRAINING], False, [("d", True), ("e", True)], id="nobody could take it"),
        pytest.param([D_REFUSED, A_500], False, [("d", True), ("a", False)], id="one refused and one failed"),
        pytest.param([D_REFUSED, A_500, B_BROKEN], False, [("d", True)], id="one refused and two failed"),
    ],
)
def test_blame_follows_from_what_other_engines_did_with_the_request(failures, answered, blamed):
    events = {failure.engine_id: failure.event for failure in failures}
    expected = [Blame(engine_id, events[engine_id], certain) for engine_id, certain in blamed]
    assert decide_blame(failures, answered) == expected


@pytest.mark.parametrize(
    ("failures", "suspect"),
    [
        ([], False),
        ([A_500], False),
        ([A_500, A_500], False),
        ([A_500, D_REFUSED, E_DRAINING], False),
        ([A_500, C_SILENT], True),
        ([D_REFUSED, A_500, E_DRAINING, B_BROKEN], True),
    ],
    ids=["none", "one", "one twice", "one and two that are certain", "two", "two among others"],
)
def test_request_is_suspect_when_it_failed_on_two_engines_for_no_other_reason(failures, suspect):
    assert is_suspect(failures) is suspect


SETTINGS = HealthSettings(eject_after=3)


@pytest.mark.parametrize("fault", [Event.ENGINE_ERROR, Event.BROKEN, Event.TIMED_OUT], ids=lambda fault: fault.value)
def test_uncertain_blame_makes_suspect_and_never_ejects(fault):
    health = Health(State.HEALTHY, 0.0)
    for second in range(1, 100):
        health = next_health(health, fault, float(second), SETTINGS, certain=False)
        assert health == Health(State.SUSPECT, 1.0)


@pytest.mark.parametrize("state", [State.PROBING, State.EJECTED])
def test_uncertain_blame_changes_no_engine_that_is_trusted_less(state):
    health = Health(state, 5.0, failures=2, ejections=1, until_at=9.0)
    assert next_health(health, Event.BROKEN, 6.0, SETTINGS, certain=False) is health


def test_uncertain_blame_is_not_added_to_certain_faults():
    health = Health(State.HEALTHY, 0.0)
    for certain in (True, False, True, False):
        health = next_health(health, Event.ENGINE_ERROR, 1.0, SETTINGS, certain=certain)
    assert (health.state, health.failures) == (State.SUSPECT, 2)
    assert next_health(health, Event.ENGINE_ERROR, 1.0, SETTINGS).state is State.EJECTED
