from remuda.observe.metrics import LABELS, METRICS
from remuda.observe.reference import render_metrics_page


def test_every_metric_and_label_is_on_the_page_once():
    rows = [line for line in render_metrics_page().splitlines() if line.startswith("| `")]
    firsts = [row.split("`")[1] for row in rows]
    for metric in METRICS:
        assert firsts.count(metric.name) == 1 + bool(metric.buckets)
    assert all(firsts.count(label) == 1 for label in LABELS)


def test_the_page_is_the_same_each_time_and_ends_with_one_newline():
    page = render_metrics_page()
    assert page == render_metrics_page()
    assert page.endswith("|\n")
