import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.policy.health import (
    Event,
    Health,
    HealthSettings,
    State,
    begin_probe,
    choose_pool,
    next_health,
    wants_probe,
)

SETTINGS = HealthSettings(
    eject_after=3, return_after=2, first_ejection_s=1.0, longest_ejection_s=8.0, forget_after_s=300.0
)
HEALTHY = Health(State.HEALTHY, since_at=0.0)
FAULTS = [Event.PROBE_FAILED, Event.CONNECT_FAILED, Event.ENGINE_ERROR, Event.TIMED_OUT, Event.BROKEN]


def after(health: Health, *events: Event, now_at: float = 10.0) -> Health:
    for event in events:
        health = next_health(health, event, now_at, SETTINGS)
    return health


def eject(health: Health = HEALTHY, now_at: float = 10.0) -> Health:
    while health.state is not State.EJECTED:
        health = next_health(health, Event.CONNECT_FAILED, now_at, SETTINGS)
    return health


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.value)
def test_one_fault_makes_suspect_and_three_eject(fault):
    assert after(HEALTHY, fault) == Health(State.SUSPECT, 10.0, failures=1)
    assert after(HEALTHY, fault, fault).state is State.SUSPECT
    assert after(HEALTHY, fault, fault, fault).state is State.EJECTED


def test_a_real_answer_between_faults_forgives_them():
    health = after(HEALTHY, Event.ENGINE_ERROR, Event.ENGINE_ERROR, Event.OK, Event.ENGINE_ERROR, Event.ENGINE_ERROR)
    assert health.state is State.SUSPECT
    assert after(HEALTHY, Event.ENGINE_ERROR, Event.OK) == Health(State.HEALTHY, 10.0)


def test_good_probes_between_faults_do_not_forgive_them():
    """vLLM answers 200 on /health and 500 to every request while it drains: that engine has to go."""
    fault_and_probe = [Event.ENGINE_ERROR, Event.PROBE_OK] * 2
    assert after(HEALTHY, *fault_and_probe).state is State.HEALTHY
    assert after(HEALTHY, *fault_and_probe, Event.ENGINE_ERROR).state is State.EJECTED


def test_ejections_double_up_to_the_longest():
    lengths, health, now_at = [], HEALTHY, 0.0
    for _ in range(6):
        health = eject(health, now_at)
        lengths.append(health.until_at - now_at)
        now_at = health.until_at
        health = begin_probe(health, now_at)
    assert lengths == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_thousand_ejections_do_not_overflow():
    many = Health(State.PROBING, 0.0, ejections=100_000)
    assert next_health(many, Event.BROKEN, 5.0, SETTINGS).until_at == 13.0


def test_an_ejected_endpoint_is_probed_when_its_time_is_up_and_not_before():
    ejected = eject(now_at=10.0)
    assert not wants_probe(ejected, 10.9)
    assert begin_probe(ejected, 10.9) is ejected
    assert wants_probe(ejected, 11.0)
    assert begin_probe(ejected, 11.0).state is State.PROBING


def test_probing_ends_with_so_many_good_probes_in_a_row():
    once = after(begin_probe(eject(), 11.0), Event.PROBE_OK, now_at=11.2)
    assert once.state is State.PROBING
    assert begin_probe(once, 11.3) == once
    assert after(once, Event.PROBE_OK, now_at=11.4) == Health(State.HEALTHY, 11.4, failures=2, ejections=1)


def test_probing_ends_with_one_real_answer():
    assert after(begin_probe(eject(), 11.0), Event.OK, now_at=11.2).state is State.HEALTHY
    assert after(begin_probe(eject(), 11.0), Event.PROBE_OK, Event.OK, now_at=11.2) == Health(
        State.HEALTHY, 11.2, ejections=1
    )


def test_good_probes_with_a_bad_one_between_are_not_in_a_row():
    again = after(begin_probe(eject(), 11.0), Event.PROBE_OK, Event.PROBE_FAILED, now_at=11.2)
    assert again.state is State.EJECTED
    assert after(begin_probe(again, 14.0), Event.PROBE_OK, now_at=14.0).state is State.PROBING


def test_after_an_ejection_probes_give_parole_and_an_answer_gives_trust():
    paroled = after(begin_probe(eject(), 11.0), Event.PROBE_OK, Event.PROBE_OK, now_at=11.2)
    assert after(paroled, Event.BROKEN, now_at=12.0).state is State.EJECTED
    trusted = after(paroled, Event.OK, now_at=12.0)
    assert after(trusted, Event.BROKEN, now_at=13.0).state is State.SUSPECT


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.value)
def test_probing_ends_badly_with_a_longer_ejection(fault):
    again = after(begin_probe(eject(), 11.0), fault, now_at=11.2)
    assert (again.state, again.until_at - 11.2) == (State.EJECTED, pytest.approx(2.0))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.value)
def test_a_dying_engine_that_fails_all_its_requests_is_ejected_once(fault):
    ejected = eject()
    assert after(ejected, *[fault] * 50) is ejected


def test_an_answer_of_an_ejected_endpoint_brings_its_probe_forward():
    ejected = eject(now_at=10.0)
    hopeful = after(ejected, Event.OK, now_at=10.2)
    assert hopeful.state is State.EJECTED
    assert wants_probe(hopeful, 10.2)
    assert after(hopeful, Event.OK, now_at=10.5) is hopeful
    assert after(ejected, Event.PROBE_OK, now_at=10.2) is ejected


def test_old_ejections_are_forgotten_after_good_times():
    back = after(begin_probe(eject(), 11.0), Event.OK, now_at=11.0)
    assert back.ejections == 1
    assert after(back, Event.OK, now_at=310.0) is back
    assert after(back, Event.OK, now_at=311.0).ejections == 0


def test_suspects_and_those_on_their_way_back_are_probed_at_once():
    assert wants_probe(after(HEALTHY, Event.BROKEN), 10.0)
    assert wants_probe(after(begin_probe(eject(), 11.0), Event.PROBE_OK, now_at=11.2), 11.2)
    assert not wants_probe(HEALTHY, 10.0)


def test_nothing_new_is_made_for_the_good_answers_of_a_healthy_endpoint():
    assert after(HEALTHY, Event.OK, Event.PROBE_OK, Event.OK) is HEALTHY


@pytest.mark.parametrize(
    ("states", "indices"),
    [
        ([State.SUSPECT, State.HEALTHY, State.EJECTED, State.HEALTHY], (1, 3)),
        ([State.SUSPECT, State.EJECTED, State.PROBING], (0,)),
        ([State.EJECTED, State.PROBING], (1,)),
        ([State.HEALTHY], (0,)),
    ],
    ids=["healthy before all", "suspect before probing", "probing before ejected", "one"],
)
def test_the_most_trusted_are_picked_among(states, indices):
    pool = choose_pool([Health(state, 0.0) for state in states])
    assert (pool.indices, pool.panic) == (indices, False)


def test_when_all_are_ejected_the_least_bad_are_picked_and_it_is_said():
    healths = [Health(State.EJECTED, 0.0, ejections=n) for n in (3, 1, 2, 1)]
    pool = choose_pool(healths)
    assert (pool.indices, pool.panic) == ((1, 3), True)


def test_no_endpoints_is_an_empty_pool_and_no_panic():
    pool = choose_pool([])
    assert (pool.indices, pool.panic) == ((), False)


EVENTS = st.lists(st.tuples(st.sampled_from(Event), st.floats(0.0, 20.0), st.booleans()), max_size=60)


@given(EVENTS)
def test_whatever_happens_the_machine_stays_sound(events):
    health, now_at = HEALTHY, 0.0
    for event, pause_s, probes in events:
        now_at += pause_s
        if probes:
            health = begin_probe(health, now_at)
        before = health
        health = next_health(health, event, now_at, SETTINGS)
        assert 0 <= health.failures < SETTINGS.eject_after
        assert 0 <= health.successes < SETTINGS.return_after
        assert not health.successes or health.state is State.PROBING
        assert health.ejections - before.ejections in (0, 1, -before.ejections)
        if health.state is State.EJECTED:
            assert health.until_at <= health.since_at + SETTINGS.longest_ejection_s
            assert wants_probe(health, now_at + SETTINGS.longest_ejection_s)
        if event in (Event.OK, Event.PROBE_OK):
            assert health.state is not State.EJECTED or before.state is State.EJECTED


@given(EVENTS)
def test_any_endpoint_recovers_within_the_longest_ejection_once_it_is_well(events):
    health, now_at = HEALTHY, 0.0
    for event, pause_s, probes in events:
        now_at += pause_s
        health = next_health(begin_probe(health, now_at) if probes else health, event, now_at, SETTINGS)
    now_at += SETTINGS.longest_ejection_s
    for _ in range(SETTINGS.return_after):
        health = next_health(begin_probe(health, now_at), Event.PROBE_OK, now_at, SETTINGS)
    assert health.state is State.HEALTHY


@given(st.lists(st.sampled_from(State), min_size=1, max_size=8))
def test_a_pool_is_never_empty_while_there_are_endpoints(states):
    pool = choose_pool([Health(state, 0.0) for state in states])
    assert pool.indices
    assert pool.panic == all(state is State.EJECTED for state in states)
