"""Renders the reference page of the metrics, docs/reference/metrics.md, from their declarations."""

from remuda.observe.metrics import LABELS, METRICS, Metric

_PARTS = {
    "gateway": ("The gateway", "Every gateway serves these on `/metrics`."),
    "fleet": (
        "Engines",
        (
            "The fleet (`remuda up`) reads these every few seconds from each engine it runs, and its gateway serves "
            "them on `/metrics`. The series of an engine disappear when it ends, or some seconds after it stops "
            "answering. "
            "Latencies per model are the gateway's, above. vLLM's own histograms (`vllm:*`) stay on the engine's own "
            "page. Remuda does not read engines that it did not start (`endpoints:`, as with `remuda gateway FILE`): "
            "let Prometheus scrape these directly."
        ),
    ),
    "process": ("The process", "Every Prometheus client exposes these."),
}


def render_metrics_page() -> str:
    """The page as Markdown."""
    lines = [
        "# Metrics",
        "",
        "<!-- generated from src/remuda/observe/metrics.py: do not edit -->",
        "",
        "`GET /metrics` answers in the Prometheus text format, or in OpenMetrics 1.0.0 when the scraper asks for it.",
        "Names state base units. Every label is bounded: no text that a client sends becomes a label.",
    ]
    for source, (title, about) in _PARTS.items():
        chosen = [metric for metric in METRICS if metric.source == source]
        lines += ["", f"## {title}", "", about, "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        lines += [_render_row(metric) for metric in chosen]
    used = [name for name in LABELS if any(name in metric.labels for metric in METRICS)]
    lines += ["", "## Labels", "", "| label | meaning and bound |", "|---|---|"]
    lines += [f"| `{name}` | {LABELS[name]} |" for name in used]
    histograms = [metric for metric in METRICS if metric.buckets]
    lines += ["", "## Buckets", "", "Upper bounds in seconds.", "", "| histogram | buckets |", "|---|---|"]
    lines += [f"| `{metric.name}` | {' '.join(f'{bound:g}' for bound in metric.buckets)} |" for metric in histograms]
    return "\n".join(lines) + "\n"


def _render_row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help.replace('|', '/')} |"
