"""The reference page of the metrics, rendered from their declarations (docs/reference/metrics.md)."""

from remuda.observe.metrics import LABELS, METRICS, Metric

_PARTS = {
    "gateway": ("The gateway", "Served by every gateway on `/metrics`."),
    "fleet": (
        "Engines",
        (
            "Read every few seconds by the fleet (`remuda up`) from each engine it runs, and served on its gateway's "
            "`/metrics`. An engine that is gone vanishes; one that does not answer keeps its figures for some seconds "
            "only. Latencies per model are the gateway's own, above; vLLM's histograms stay on the engine's own page "
            "(`vllm:*`). Engines that run elsewhere (`endpoints:`, so all those of `remuda gateway FILE`) are not read "
            "by Remuda: let Prometheus scrape them beside it."
        ),
    ),
    "process": ("The process", "As every Prometheus client exposes them."),
}


def render_metrics_page() -> str:
    """The page, as Markdown."""
    lines = [
        "# Metrics",
        "",
        "<!-- generated from src/remuda/observe/metrics.py: do not edit -->",
        "",
        "`GET /metrics` answers in the Prometheus text format, or in OpenMetrics 1.0.0 when the scraper asks for it.",
        "Units are base units and stand in the name. Every label is bounded; nothing a client sends becomes a label.",
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
