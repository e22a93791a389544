"""What we render is held against prometheus_client: its parsers must read it, and its own renderer must agree."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import core
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from remuda.observe import metrics
from remuda.observe.exposition import LONGEST_LABEL, OPENMETRICS, TEXT, accepts_openmetrics, render_exposition
from remuda.observe.metrics import METRICS, HistogramCounts, Metric

PARSERS = [("text/plain", parse_text), ("application/openmetrics-text; version=1.0.0", parse_openmetrics)]
PROMETHEUS_3_ACCEPT = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def example_of(metric: Metric):
    """One series of a metric, with a unique value."""
    labels = tuple(f"{name}-value" for name in metric.labels)
    if metric.kind != "histogram":
        return {labels: 1.0 if metric.kind == "info" else METRICS.index(metric) + 0.5}
    counts = HistogramCounts(metric.buckets)
    for value in (0.0004, 0.02, 0.02, 7.0, 100_000.0):
        counts.observe(value)
    return {labels: counts}


EVERYTHING = {metric: example_of(metric) for metric in METRICS}


class Families:
    """The same snapshot as types of prometheus_client."""

    def __init__(self, snapshot) -> None:
        self.snapshot = snapshot

    def collect(self):
        kinds = {"counter": core.CounterMetricFamily, "gauge": core.GaugeMetricFamily, "info": core.InfoMetricFamily}
        for metric, series in self.snapshot.items():
            if metric.kind == "histogram":
                yield self._histogram(metric, series)
                continue
            if metric.kind == "info":
                family = core.InfoMetricFamily(metric.family, metric.help)
                for labels in series:
                    family.add_metric([], dict(zip(metric.labels, labels, strict=True)))
                yield family
                continue
            family = kinds[metric.kind](metric.family, metric.help, labels=metric.labels, unit=metric.unit)
            for labels, value in series.items():
                family.add_metric(labels, value)
            yield family

    @staticmethod
    def _histogram(metric, series):
        family = core.HistogramMetricFamily(metric.family, metric.help, labels=metric.labels, unit=metric.unit)
        for labels, counts in series.items():
            total, buckets = 0, []
            for bound, count in zip((*counts.bounds, math.inf), counts.counts, strict=True):
                total += count
                buckets.append(("+Inf" if bound == math.inf else repr(bound), total))
            family.add_metric(labels, buckets, counts.sum)
        return family


def samples_of(families):
    found = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


@pytest.mark.parametrize(("accept", "parse"), PARSERS, ids=["text", "openmetrics"])
def test_every_metric_is_read_back_as_the_official_renderer_writes_it(accept, parse):
    ours = render_exposition(EVERYTHING, accept).body().decode()
    encode, _ = choose_encoder(accept)
    theirs = encode(Families(EVERYTHING)).decode()
    assert samples_of(parse(ours)) == samples_of(parse(theirs))


@pytest.mark.parametrize(("accept", "parse"), PARSERS, ids=["text", "openmetrics"])
def test_type_help_and_unit_are_stated(accept, parse):
    families = {family.name: family for family in parse(render_exposition(EVERYTHING, accept).body().decode())}
    for metric in METRICS:
        name = metric.name if parse is parse_text and metric.kind == "info" else metric.family
        family = families[name]
        assert family.documentation == metric.help
        assert family.type == ("gauge" if parse is parse_text and metric.kind == "info" else metric.kind)
        assert parse is parse_text or family.unit == metric.unit


def test_text_of_a_counter_and_a_histogram():
    counts = HistogramCounts((0.5, 1.0))
    counts.observe(0.7)
    metric = Metric(
        "remuda_time_to_first_byte_seconds", "histogram", "Help.", ("model",), "seconds", buckets=(0.5, 1.0)
    )
    first_byte = next(m for m in METRICS if m.name == metric.name)
    snapshot = {first_byte: {("a",): counts}, metrics.REQUESTS: {("a", "chat", "completed"): 3}}
    assert render_exposition(snapshot).body().decode().splitlines() == [
        "# HELP remuda_requests_total Requests that ended. Each is counted once, under its one outcome.",
        "# TYPE remuda_requests_total counter",
        'remuda_requests_total{model="a",route="chat",outcome="completed"} 3',
        f"# HELP remuda_time_to_first_byte_seconds {first_byte.help}",
        "# TYPE remuda_time_to_first_byte_seconds histogram",
        'remuda_time_to_first_byte_seconds_bucket{model="a",le="0.5"} 0',
        'remuda_time_to_first_byte_seconds_bucket{model="a",le="1.0"} 1',
        'remuda_time_to_first_byte_seconds_bucket{model="a",le="+Inf"} 1',
        'remuda_time_to_first_byte_seconds_count{model="a"} 1',
        'remuda_time_to_first_byte_seconds_sum{model="a"} 0.7',
    ]


def test_each_metric_is_a_piece_of_its_own_in_the_order_of_declaration():
    backwards = dict(reversed(EVERYTHING.items()))
    pieces = list(render_exposition(backwards, "application/openmetrics-text").pieces)
    assert len(pieces) == len(METRICS) + 1
    assert [piece.split()[2].decode() for piece in pieces[:-1]] == [metric.family for metric in METRICS]
    assert pieces[-1] == b"# EOF\n"


def test_a_metric_without_series_is_left_out():
    assert render_exposition({metrics.REQUESTS: {}}).body() == b""


def test_only_declared_metrics_are_exposed():
    stray = Metric("remuda_stray_total", "counter", "Stray.")
    with pytest.raises(KeyError):
        render_exposition({stray: {(): 1.0}}).body()


@pytest.mark.parametrize("labels", [(), ("a", "b")], ids=["too few", "too many"])
def test_series_have_exactly_the_declared_labels(labels):
    with pytest.raises(ValueError, match="zip"):
        render_exposition({metrics.MODEL_READY: {labels: 1.0}}).body()


@pytest.mark.parametrize(("accept", "parse"), PARSERS, ids=["text", "openmetrics"])
@given(value=st.text(st.characters(exclude_categories=("Cs",)), max_size=LONGEST_LABEL))
def test_any_label_value_is_read_back(accept, parse, value):
    body = render_exposition({metrics.MODEL_READY: {(value,): 1.0}}, accept).body().decode()
    (family,) = parse(body)
    assert [sample.labels for sample in family.samples] == [{"model": value}]


def test_a_long_label_is_cut_and_undecodable_bytes_are_replaced():
    body = render_exposition({metrics.MODEL_READY: {("x" * 500,): 1.0, ("\udcff",): 0.0}}).body().decode()
    (family,) = parse_text(body)
    assert [sample.labels["model"] for sample in family.samples] == ["x" * (LONGEST_LABEL - 1) + "…", "?"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3.0, "3.0"), (1e21, "1e+21"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN")],
)
def test_numbers(value, text):
    last = render_exposition({metrics.MODEL_READY: {("a",): value}}).body().decode().splitlines()[-1]
    assert last == f'remuda_model_ready{{model="a"}} {text}'
    (family,) = parse_text(last)
    assert family.samples[0].value == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/html, application/xhtml+xml", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; Version=1.0.0", True),
        ("application/openmetrics-text; version=0.0.1", False),
        ("application/openmetrics-text;q=0.3,text/plain;q=0.9", False),
        ("application/openmetrics-text;q=0,text/plain;q=0", False),
        ("application/openmetrics-text;q=abc", False),
        (";;,,;q=", False),
        (PROMETHEUS_3_ACCEPT, True),
    ],
)
def test_openmetrics_is_sent_when_the_scraper_prefers_it(accept, openmetrics):
    assert accepts_openmetrics(accept) is openmetrics
    assert render_exposition({}, accept).content_type == (OPENMETRICS if openmetrics else TEXT)
