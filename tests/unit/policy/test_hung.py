from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.policy.hung import Hang, Hung, HungLimits, Sample, decide_hung, keep_samples

LIMITS = HungLimits(frozen_s=20.0, longest_step_s=600.0, longest_gap_s=5.0, idle_cpu_share=0.01)
WORKING = Sample(now_at=0.0, running=2, waiting=1, tokens_total=500, core_cpu_s=10.0)
IDLE = replace(WORKING, running=0, waiting=0)


def watch(first: Sample, *stretches: dict, every_s: float = 2.0) -> list[Sample]:
    """Samples of an engine: each stretch lasts `for_s`, with `cpu` seconds and `tokens` a second, and fixed fields."""
    samples = [first]
    for stretch in stretches:
        fields = dict(stretch)
        for_s, cpu, tokens = fields.pop("for_s"), fields.pop("cpu", 0.0), fields.pop("tokens", 0)
        for _ in range(round(for_s / every_s)):
            last = samples[-1]
            samples.append(
                replace(
                    last,
                    now_at=last.now_at + every_s,
                    core_cpu_s=last.core_cpu_s + cpu * every_s,
                    tokens_total=last.tokens_total + round(tokens * every_s),
                )
            )
            samples[-1] = replace(samples[-1], **fields)
    return samples


def hang_of(samples: list[Sample]) -> Hang | None:
    decision = decide_hung(samples, LIMITS)
    return decision.hang if decision else None


@pytest.mark.parametrize(
    ("stretches", "expected"),
    [
        ([{"for_s": 20, "cpu": 0.0}], Hang.FROZEN),
        ([{"for_s": 18, "cpu": 0.0}], None),
        ([{"for_s": 400, "cpu": 1.9}], None),
        ([{"for_s": 600, "cpu": 1.9}], Hang.SPINNING),
        ([{"for_s": 300, "cpu": 1.9}, {"for_s": 20, "cpu": 0.0}], Hang.FROZEN),
        ([{"for_s": 300, "cpu": 0.0, "tokens": 3}], None),
        ([{"for_s": 18, "cpu": 0.0}, {"for_s": 2, "tokens": 1}, {"for_s": 18, "cpu": 0.0}], None),
        ([{"for_s": 30, "cpu": 0.005}], Hang.FROZEN),
        ([{"for_s": 30, "cpu": 0.02}], None),
    ],
    ids=[
        "stopped (SIGSTOP) or deadlocked",
        "stopped, too early to say",
        "a long prefill",
        "a prefill longer than any",
        "stopped in the middle of a long prefill",
        "slow but generating",
        "a token between two pauses",
        "only its timers tick",
        "just enough processor time to live",
    ],
)
def test_an_engine_with_requests_is_judged_by_tokens_and_processor_time(stretches, expected):
    assert hang_of(watch(WORKING, *stretches)) is expected


@pytest.mark.parametrize(
    ("stretches", "expected"),
    [
        ([{"for_s": 3_600}], None),
        ([{"for_s": 60, "probe_ok": True}], None),
        ([{"for_s": 20, "probe_ok": False}], Hang.DEAF),
        ([{"for_s": 18, "probe_ok": False}], None),
        ([{"for_s": 10, "probe_ok": False}, {"for_s": 10, "probe_ok": None}], Hang.DEAF),
        ([{"for_s": 18, "probe_ok": False}, {"for_s": 2, "probe_ok": True}, {"for_s": 10, "probe_ok": False}], None),
        ([{"for_s": 300, "probe_ok": False, "cpu": 1.0}], None),
        ([{"for_s": 600, "probe_ok": False, "cpu": 1.0}], Hang.SPINNING),
        ([{"for_s": 18, "probe_ok": False}, {"for_s": 2, "tokens": 1, "probe_ok": None}, {"for_s": 30}], None),
    ],
    ids=[
        "nothing asked for an hour",
        "answers its probes",
        "does not answer its probe",
        "does not answer, too early to say",
        "no probe under way after one that was not answered",
        "answers late",
        "the first step of a long prompt, which vLLM does not count as running yet",
        "that, without end",
        "tokens moved: it was busy after all",
    ],
)
def test_an_idle_engine_is_judged_by_its_probe(stretches, expected):
    assert hang_of(watch(IDLE, *stretches)) is expected


def test_an_api_process_that_does_not_answer_is_told_apart():
    assert hang_of(watch(IDLE, {"for_s": 20, "answered": False})) is Hang.SILENT
    assert hang_of(watch(WORKING, {"for_s": 600, "answered": False, "cpu": 1.0})) is Hang.SILENT
    assert hang_of(watch(WORKING, {"for_s": 300, "answered": False, "cpu": 1.0})) is None


def test_counters_are_compared_across_unanswered_looks():
    silent = {"for_s": 16, "answered": False, "tokens_total": 0}
    assert hang_of(watch(WORKING, silent, {"for_s": 6, "answered": True, "tokens_total": 500})) is Hang.FROZEN
    assert hang_of(watch(WORKING, silent, {"for_s": 6, "answered": True, "tokens_total": 501})) is None


def test_time_in_which_we_were_not_looking_does_not_count():
    """The whole process group was stopped for an hour, or the machine slept: nobody is hung."""
    asleep = watch(WORKING, {"for_s": 4})
    woken = [*asleep, replace(asleep[-1], now_at=3_600.0)]
    assert hang_of(woken) is None
    assert hang_of([*woken, *watch(woken[-1], {"for_s": 12})[1:]]) is Hang.FROZEN


def test_no_sample_and_one_sample_say_nothing():
    assert decide_hung([], LIMITS) is None
    assert decide_hung([WORKING], LIMITS) is None


def test_the_reason_is_a_sentence_with_its_time():
    decision = decide_hung(watch(WORKING, {"for_s": 24}), LIMITS)
    assert str(decision) == (
        "hung: requests are running, but no token was produced and its core used no processor time for 24 s"
    )
    assert decision == Hung(Hang.FROZEN, 24.0)


SAMPLES = st.lists(
    st.builds(
        lambda *step: step,
        st.floats(0.1, 30.0), st.integers(0, 2), st.integers(0, 1), st.sampled_from([0, 0, 0, 1]),
        st.sampled_from([0.0, 0.0, 0.5]), st.sampled_from([None, False, True]), st.booleans(),
    ),
    max_size=40,
)  # fmt: skip


def accumulate(steps) -> list[Sample]:
    samples, last = [], Sample(0.0, 0, 0, 0, 0.0)
    for gap_s, running, waiting, tokens, cpu_s, probe_ok, answered in steps:
        last = Sample(
            last.now_at + gap_s,
            running,
            waiting,
            last.tokens_total + tokens,
            last.core_cpu_s + cpu_s,
            probe_ok,
            answered,
        )
        samples.append(last)
    return samples


@given(SAMPLES)
def test_forgetting_what_lies_before_the_last_progress_changes_no_decision(steps):
    samples = accumulate(steps)
    kept: list[Sample] = []
    for sample in samples:
        kept = list(keep_samples([*kept, sample]))
    assert decide_hung(kept, LIMITS) == decide_hung(samples, LIMITS)


@given(SAMPLES)
def test_an_engine_that_just_produced_a_token_is_never_hung(steps):
    samples = accumulate(steps)
    first = samples[-1] if samples else IDLE
    alive = replace(first, now_at=first.now_at + 100.0, tokens_total=first.tokens_total + 1, answered=True)
    assert decide_hung([*samples, replace(first, answered=True), alive], LIMITS) is None


@given(SAMPLES)
def test_nothing_is_hung_before_the_shorter_bound(steps):
    samples = accumulate(steps)
    decision = decide_hung(samples, LIMITS)
    assert decision is None or decision.stalled_s >= LIMITS.frozen_s


UNSEEN = Sample(now_at=0.0, running=2, waiting=0, tokens_total=500, core_cpu_s=None)


@pytest.mark.parametrize(
    ("last", "hang"),
    [
        (UNSEEN, Hang.STUCK),
        (replace(UNSEEN, running=0, probe_ok=False), Hang.MUTE),
        (replace(UNSEEN, answered=False), Hang.SILENT),
    ],
    ids=["stuck", "mute", "silent"],
)
def test_without_its_processor_time_only_the_longest_step_judges_an_engine(last, hang):
    samples = [replace(last, now_at=float(second)) for second in range(0, 595, 5)]
    assert decide_hung(samples, LIMITS) is None
    samples += [replace(last, now_at=595.0), replace(last, now_at=600.0)]
    assert decide_hung(samples, LIMITS) == Hung(hang, 600.0)
