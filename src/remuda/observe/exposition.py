"""Renders a Snapshot as Prometheus text or as OpenMetrics, whichever format the scraper asks for.

It does not use prometheus_client, which takes 15 MiB, 70 ms at start and five times as long per line. The tests compare
both. The result comes in pieces, one per metric, so that a caller with a thousand engines can serve streams between two
pieces. This module does not know who counted the values.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from remuda.observe.metrics import METRICS, HistogramCounts, Labels, Metric, Snapshot

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

LONGEST_LABEL = 128
"""Longest label value in characters. Longer values are cut, because model names come from files."""

_ORDER: Mapping[Metric, int] = {metric: index for index, metric in enumerate(METRICS)}


@dataclass(frozen=True, slots=True)
class Exposition:
    """The content type of an answer, and the pieces of its body."""

    content_type: str
    pieces: Iterator[bytes]

    def body(self) -> bytes:
        return b"".join(self.pieces)


def render_exposition(snapshot: Snapshot, accept: str = "") -> Exposition:
    """The snapshot in the format that the `Accept` header prefers. Its metrics must be declared in METRICS."""
    if accepts_openmetrics(accept):
        return Exposition(OPENMETRICS, _render_pieces(snapshot, openmetrics=True))
    return Exposition(TEXT, _render_pieces(snapshot, openmetrics=False))


def accepts_openmetrics(accept: str) -> bool:
    """Whether the header asks for OpenMetrics 1.0.0 with at least the weight of plain text."""
    weights = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for choice in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in choice.split(";"))
        if kind in weights and _speaks_our_version(kind, parameters):
            weights[kind] = max(weights[kind], _weight(parameters))
    return weights["application/openmetrics-text"] > 0.0 and (
        weights["application/openmetrics-text"] >= weights["text/plain"]
    )


def _speaks_our_version(kind: str, parameters: list[str]) -> bool:
    versions = [p.removeprefix("version=") for p in parameters if p.startswith("version=")]
    return kind == "text/plain" or not versions or versions[0] == "1.0.0"


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def _render_pieces(snapshot: Snapshot, *, openmetrics: bool) -> Iterator[bytes]:
    for metric in sorted(snapshot, key=_ORDER.__getitem__):
        series = snapshot[metric]
        if series:
            head = _render_head(metric, openmetrics)
            lines = _render_histogram(metric, series) if metric.kind == "histogram" else _render_plain(metric, series)
            yield (head + "".join(lines)).encode()
    if openmetrics:
        yield b"# EOF\n"


def _render_head(metric: Metric, openmetrics: bool) -> str:
    help_text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    if not openmetrics:
        kind = "gauge" if metric.kind == "info" else metric.kind
        return f"# HELP {metric.name} {help_text}\n# TYPE {metric.name} {kind}\n"
    family = metric.family
    unit = f"# UNIT {family} {metric.unit}\n" if metric.unit else ""
    escaped = help_text.replace('"', '\\"')
    return f"# HELP {family} {escaped}\n# TYPE {family} {metric.kind}\n{unit}"


def _render_plain(metric: Metric, series: Mapping[Labels, float | HistogramCounts]) -> Iterator[str]:
    name = metric.name
    for labels, value in series.items():
        assert not isinstance(value, HistogramCounts), name
        inside = _render_labels(metric.labels, labels)
        yield f"{name}{{{inside}}} {_render_number(value)}\n" if inside else f"{name} {_render_number(value)}\n"


def _render_histogram(metric: Metric, series: Mapping[Labels, float | HistogramCounts]) -> Iterator[str]:
    name = metric.name
    for labels, counts in series.items():
        assert isinstance(counts, HistogramCounts), name
        inside = _render_labels(metric.labels, labels)
        start = f"{name}_bucket{{{inside}," if inside else f"{name}_bucket{{"
        total = 0
        for bound, count in zip((*counts.bounds, math.inf), counts.counts, strict=True):
            total += count
            yield f'{start}le="{_render_bound(bound)}"}} {total}\n'
        braces = f"{{{inside}}}" if inside else ""
        yield f"{name}_count{braces} {total}\n{name}_sum{braces} {_render_number(counts.sum)}\n"


@lru_cache(maxsize=16_384)
def _render_labels(names: Labels, values: Labels) -> str:
    """The text between the braces. It is cached, because most series appear in the next scrape again."""
    return ",".join([f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True)])


def _escape(value: str) -> str:
    """The value, cut and escaped as both formats require. Lone surrogates, from undecodable bytes, become `?`."""
    cut = value if len(value) <= LONGEST_LABEL else value[: LONGEST_LABEL - 1] + "…"
    safe = cut.encode("utf-8", "replace").decode()
    return safe.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


@lru_cache(maxsize=256)
def _render_bound(bound: float) -> str:
    return "+Inf" if bound == math.inf else repr(float(bound))


def _render_number(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
