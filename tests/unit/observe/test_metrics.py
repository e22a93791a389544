import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.observe import metrics
from remuda.observe.metrics import LABELS, METRICS, HistogramCounts
from remuda.policy.health import State
from remuda.policy.outcome import Outcome
from remuda.policy.retry import Phase

BASE_UNITS = {"", "seconds", "bytes", "tokens", "ratio", "tokens_per_second"}


def test_names_are_unique_and_all_are_listed():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names) == sum(isinstance(v, metrics.Metric) for v in vars(metrics).values())


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_follows_the_naming_conventions(metric):
    assert re.fullmatch(r"(remuda|process)_[a-z][a-z_]*[a-z]", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.endswith("_info") == (metric.kind == "info")
    assert metric.unit in BASE_UNITS
    assert metric.family.endswith(metric.unit)
    assert not re.search(r"_(ms|milliseconds|minutes|percent|kb|mb)(_|$)", metric.name)
    assert not re.search(r"_(count|sum|bucket)$", metric.name)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_explained_and_bounded(metric):
    assert re.fullmatch(r"[A-Z0-9].*\.", metric.help)
    assert set(metric.labels) <= LABELS.keys()
    assert len(set(metric.labels)) == len(metric.labels)
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_every_label_has_a_user():
    assert {label for metric in METRICS for label in metric.labels} == LABELS.keys()


def test_words_of_the_policies_are_valid_label_values():
    for word in [*Outcome, *State, *(phase.name.lower() for phase in Phase)]:
        assert re.fullmatch(r"[a-z_]{1,32}", str(word))


def test_a_value_on_a_bound_counts_into_the_bucket_of_that_bound():
    counts = HistogramCounts((0.1, 1.0))
    for value in (0.05, 0.1, 0.2, 1.0, 1.5):
        counts.observe(value)
    assert counts.counts == [2, 2, 1]
    assert counts.sum == pytest.approx(2.85)


@given(st.lists(st.floats(0.0, 1e6)))
def test_every_observation_is_in_exactly_one_bucket(values):
    counts = HistogramCounts(metrics.FIRST_BYTE_BUCKETS_S)
    for value in values:
        counts.observe(value)
    assert sum(counts.counts) == len(values)
    below = sum(counts.counts[:4])
    assert below == sum(value <= metrics.FIRST_BYTE_BUCKETS_S[3] for value in values)
