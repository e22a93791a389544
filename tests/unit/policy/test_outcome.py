from http import HTTPStatus

from remuda.policy.outcome import Outcome

ENGINE_FAULTS = {Outcome.UPSTREAM_REFUSED, Outcome.UPSTREAM_FAILED, Outcome.UPSTREAM_TIMEOUT, Outcome.STREAM_BROKEN}


def test_only_faults_of_the_engine_count_against_it():
    assert {outcome for outcome in Outcome if outcome.engine_fault} == ENGINE_FAULTS


def test_a_value_is_a_metric_label():
    assert all(outcome.value.isidentifier() and outcome.value.islower() for outcome in Outcome)
    assert str(Outcome.COMPLETED) == "completed"
    assert Outcome("completed") is Outcome.COMPLETED


def test_every_outcome_says_what_happened_and_statuses_are_real_errors():
    for outcome in Outcome:
        assert outcome.sentence.endswith(".")
        assert outcome.status is None or HTTPStatus(outcome.status) >= 400


def test_what_was_relayed_or_cut_has_no_status_of_our_own():
    own = {outcome for outcome in Outcome if outcome.status is None}
    assert own == {
        Outcome.COMPLETED,
        Outcome.REJECTED_BY_ENGINE,
        Outcome.CLIENT_DISCONNECTED,
        Outcome.STREAM_BROKEN,
    }
