"""Renders samples for people: tables, the README's part, a chart. Pure: values in, text out.

It does not measure and does not know where files lie.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.rounds import Sample
from benchmarks.tables import SLEEPING, TABLES, Column, Table

BASELINE = "nginx"
COMMAND = "make bench"
NOISE = 1.25
METHOD = """\
Median [lowest–highest] of the rounds. One core for the gateway under test, another one for load and mock engines; CPU \
time of all of a gateway's processes. × nginx = median of the ratios within each round. Real engines use all cores."""
README_NOTE = """\
`{command}`, {date}, one core of {cpu}; median of interleaved rounds; {requests:,} answers, each checked. × = times \
nginx in the same round. {waiting}Remuda runs with API keys, model routing, metrics, request ids and health checks. \
LiteLLM has 8 streams (it carries no more on a core). Method, fairness and all figures: \
[benchmarks](benchmarks/README.md)."""
WAITING = """\
Client and engines sleep between events, as real ones do; in the columns "awake" they never sleep, so that no gateway \
pays for waking them. """


def samples_from(result: Mapping[str, Any]) -> list[Sample]:
    """The samples of a result file."""
    return [Sample(**sample) for sample in result["samples"]]


def render_markdown(result: Mapping[str, Any]) -> str:
    """The whole report of one run."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        f"# Benchmark of {result['date']}",
        "",
        f"Command: `{result['command']}`",
        describe_machine(result["machine"]),
        *([f"Measured in {result['elapsed_s'] / 60:.0f} minutes"] if "elapsed_s" in result else []),
        f"Versions: {versions}",
        f"Answers checked: {result['requests']:,}; wrong or lost: {len(result['failures']) or 'none'}",
        "",
        METHOD,
    ]
    samples = samples_from(result)
    lines += [*_warn_of_noise(samples), *(f"* {failure}" for failure in result["failures"])]
    for table in TABLES.values():
        rows = render_table(table, samples)
        if rows:
            lines += ["", f"## {table.title}", "", *rows, *(["", table.note] if table.note else [])]
    return "\n".join(lines) + "\n"


def _warn_of_noise(samples: Sequence[Sample]) -> list[str]:
    """nginx does the same in every round: when its figures differ, the machine was busy with something else."""
    lines = []
    for table in ("requests", "requests" + SLEEPING):
        costs = values_of([sample for sample in samples if sample.table == table], BASELINE, "cpu_us")
        if costs and max(costs) > NOISE * min(costs):
            range_us = f"{min(costs):.1f} to {max(costs):.1f} µs"
            lines += ["", f"The machine was not quiet: nginx took {range_us} for the same request in `{table}`."]
    return lines


def describe_machine(machine: Mapping[str, Any]) -> str:
    """The machine in one line."""
    size = f"{machine['cores']} cores, {machine['memory_gib']} GiB"
    return f"Machine: {machine['cpu']}, {size}, Linux {machine['kernel']}, load before {machine['load']}"


def render_table(table: Table, samples: Sequence[Sample]) -> list[str]:
    """One table as Markdown lines; empty when nothing of it was measured."""
    mine = [sample for sample in samples if sample.table == table.name]
    names = [name for name in table.contestants if any(sample.contestant == name for sample in mine)]
    if not names:
        return []
    compared = table.compared is not None and BASELINE in names
    titles = ["", *(column.title for column in table.columns), *(["× nginx"] if compared else [])]
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) - 1)]
    for name in names:
        cells = [name, *(_cell(column, values_of(mine, name, column.key)) for column in table.columns)]
        if compared and table.compared:
            ratio = ratio_to_baseline(mine, name, table.compared)
            cells.append("–" if ratio is None else f"{ratio:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def values_of(samples: Sequence[Sample], name: str, key: str) -> list[float]:
    """All figures `key` of one contestant."""
    found = [sample.values[key] for sample in samples if sample.contestant == name and key in sample.values]
    return [value for value in found if not isinstance(value, list)]


def ratio_to_baseline(samples: Sequence[Sample], name: str, key: str) -> float | None:
    """Median over the rounds of (this contestant / nginx in the same round); None when it uses no CPU of its own."""
    by_round = {(sample.contestant, sample.round): sample.values.get(key) for sample in samples}
    ratios = []
    for (contestant, number), value in by_round.items():
        base = by_round.get((BASELINE, number))
        if contestant == name and isinstance(value, float) and isinstance(base, float) and value and base:
            ratios.append(value / base)
    return statistics.median(ratios) if ratios else None


def _cell(column: Column, values: Sequence[float]) -> str:
    if not values or (column.key in {"cpu_us", "user_us"} and not any(values)):
        return "–"
    middle = f"{statistics.median(values):,.{column.digits}f}"
    if len(values) == 1 or min(values) == max(values):
        return middle
    return f"{middle} [{min(values):,.{column.digits}f}–{max(values):,.{column.digits}f}]"


README_ROWS = ("nginx", "bare", "remuda", "remuda-python", "vllm-router", "sglang-router", "litellm")
README_NAMES = {
    "nginx": "nginx (a plain proxy, no keys, no models)",
    "bare": "a bare data path in Python ([bare.py](benchmarks/bare.py): routing and nothing else)",
    "remuda": "**Remuda** (`make wheel`: compiled)",
    "remuda-python": "Remuda from its sources (`make up`)",
    "litellm": "LiteLLM",
}


def render_readme(result: Mapping[str, Any]) -> str:
    """The README's table: one row for each contestant, the figures that matter, from one saved result."""
    samples = samples_from(result)
    versions: Mapping[str, str] = result["versions"]
    columns = _readme_columns(samples)
    lines = ["| | " + " | ".join(title for title, _ in columns) + " |", "|---|" + "---:|" * len(columns)]
    for name in README_ROWS:
        if any(sample.contestant == name for sample in samples):
            title, version = README_NAMES.get(name, name), versions.get(name)
            cells = [f"{title} {version}" if version and name != "remuda" else title]
            cells += [render_cell(name) for _, render_cell in columns]
            lines.append("| " + " | ".join(cells) + " |")
    cpu, requests = result["machine"]["cpu"], result["requests"]
    waiting = WAITING if _usual_mode(samples) else ""
    note = README_NOTE.format(command=COMMAND, date=result["date"], cpu=cpu, requests=requests, waiting=waiting)
    return "\n".join([*lines, "", *_say_ratios(samples), note]) + "\n"


def _usual_mode(samples: Sequence[Sample]) -> str:
    """The ending of the tables' names: those in which load and engines sleep, unless the result has none."""
    return SLEEPING if any(sample.table.endswith(SLEEPING) for sample in samples) else ""


def _readme_columns(samples: Sequence[Sample]) -> list[tuple[str, Callable[[str], str]]]:
    mode = _usual_mode(samples)
    columns: list[tuple[str, Callable[[str], str]]] = [
        ("CPU per request", lambda name: _with_ratio(samples, f"requests{mode}", name)),
        ("CPU per streamed chunk", lambda name: _with_ratio(samples, f"chunks{mode}", name)),
    ]
    if mode:
        columns += [
            ("request, awake", lambda name: _with_ratio(samples, "requests", name)),
            ("chunk, awake", lambda name: _with_ratio(samples, "chunks", name)),
        ]
    return [
        *columns,
        ("added time to first byte, p99", lambda name: _added_ms(samples, f"first-byte{mode}", name)),
        ("memory, 1,000 streams", lambda name: _memory_mib(samples, name)),
    ]


def _say_ratios(samples: Sequence[Sample]) -> list[str]:
    """What each kind of installation gets, in one sentence; nothing when one of its figures was not measured."""
    mode = _usual_mode(samples)
    costs = {name: _ratios(samples, mode, name) for name in ("remuda", "remuda-python")}
    if any(cost is None for cost in costs.values()):
        return []
    text = (
        f"Installed from the compiled wheel, Remuda takes {costs['remuda']}; installed from its sources, "
        f"{costs['remuda-python']}."
    )
    bare = _ratios(samples, mode, "bare")
    return [f"{text} The bare data path takes {bare}." if bare else text, ""]


def _ratios(samples: Sequence[Sample], mode: str, name: str) -> str | None:
    tables = [[sample for sample in samples if sample.table == f"{table}{mode}"] for table in ("requests", "chunks")]
    request, chunk = (ratio_to_baseline(table, name, "cpu_us") for table in tables)
    if request is None or chunk is None:
        return None
    return f"{request:.2f} times the CPU of nginx per request and {chunk:.2f} times per streamed chunk"


def _with_ratio(samples: Sequence[Sample], table: str, name: str) -> str:
    mine = [sample for sample in samples if sample.table == table]
    values, ratio = values_of(mine, name, "cpu_us"), ratio_to_baseline(mine, name, "cpu_us")
    if not values:
        return "–"
    text = f"{statistics.median(values):,.1f} µs"
    if ratio is None or name == BASELINE:
        return text
    return f"{text} ({ratio:,.2f} ×)" if ratio < 10 else f"{text} ({ratio:,.0f} ×)"


def _added_ms(samples: Sequence[Sample], table: str, name: str) -> str:
    values = values_of([sample for sample in samples if sample.table == table], name, "added_p99_us")
    return f"{statistics.median(values) / 1000:,.1f} ms" if values else "–"


def _memory_mib(samples: Sequence[Sample], name: str) -> str:
    values = values_of([sample for sample in samples if sample.table == "streams-1000"], name, "rss_mib")
    return f"{statistics.median(values):,.0f} MiB" if values else "–"


CHART_ROWS = ("nginx", "bare", "remuda", "remuda-python", "vllm-router", "sglang-router")
CHART_COLORS = {"remuda": "#c2571a", "remuda-python": "#dc9a70"}
BAR_HEIGHT, BAR_GAP, LABEL_WIDTH, CHART_WIDTH = 22, 10, 130, 640
CHART_STYLE = "text{font:14px system-ui,sans-serif;fill:#777}.title{font-weight:600}"
CHART_TITLES = {"requests": "CPU time per request, µs", "chunks": "CPU time per streamed chunk, µs"}


def render_chart(result: Mapping[str, Any]) -> str:
    """Bars of CPU time per request and per chunk (SVG). Without LiteLLM: its bar would be hundreds of pages wide."""
    samples = samples_from(result)
    mode = _usual_mode(samples)
    parts: list[str] = []
    top = 10
    for table, title in CHART_TITLES.items():
        mine = [sample for sample in samples if sample.table == f"{table}{mode}"]
        found = {name: values_of(mine, name, "cpu_us") for name in CHART_ROWS}
        medians = {name: statistics.median(values) for name, values in found.items() if values}
        parts.append(f'<text x="0" y="{top + 14}" class="title">{escape(title)}</text>')
        top += 24
        for name, value in medians.items():
            parts.append(_bar(name, value, max(medians.values()), top))
            top += BAR_HEIGHT + BAR_GAP
        top += 14
    size = f'width="{CHART_WIDTH}" height="{top}" viewBox="0 0 {CHART_WIDTH} {top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><style>{CHART_STYLE}</style>'
    return f"{head}{''.join(parts)}</svg>\n"


def _bar(name: str, value: float, largest: float, top: int) -> str:
    width, text_y = value / largest * (CHART_WIDTH - LABEL_WIDTH - 60), top + 16
    place = f'x="{LABEL_WIDTH}" y="{top}" width="{width:.1f}" height="{BAR_HEIGHT}"'
    return (
        f'<text x="0" y="{text_y}">{escape(name)}</text>'
        f'<rect {place} rx="3" fill="{CHART_COLORS.get(name, "#8a8f98")}"/>'
        f'<text x="{LABEL_WIDTH + width + 8:.1f}" y="{text_y}">{value:.1f}</text>'
    )
