"""What the benchmark prints, from samples with known figures."""

import dataclasses
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from benchmarks.processes import BenchError
from benchmarks.report import ratio_to_baseline, render_chart, render_markdown, render_readme, render_table, values_of
from benchmarks.rounds import Sample, percentile, pool_first_bytes
from benchmarks.run import replace_table
from benchmarks.tables import TABLES


def sample(table: str, contestant: str, number: int = 0, **values: Any) -> Sample:
    return Sample(table, contestant, number, values)


SAMPLES = [
    sample("requests", "nginx", 0, cpu_us=10.0, per_s=60_000.0),
    sample("requests", "remuda", 0, cpu_us=15.0, user_us=9.0, per_s=40_000.0),
    sample("requests", "nginx", 1, cpu_us=20.0, per_s=30_000.0),
    sample("requests", "remuda", 1, cpu_us=28.0, per_s=20_000.0),
    sample("requests", "nginx", 2, cpu_us=30.0, per_s=20_000.0),
    sample("requests", "remuda", 2, cpu_us=48.0, per_s=10_000.0),
    sample("chunks", "nginx", 0, cpu_us=8.0, delay_p50_us=250.0, delay_p99_us=900.0),
    sample("chunks", "litellm", 0, cpu_us=640.0, delay_p50_us=1500.0, delay_p99_us=9000.0),
    sample("streams-1000", "remuda", 0, started=1000, lost=0, rss_start_mib=30.0, rss_mib=41.4, cpu_us=9.0),
    sample("first-byte", "remuda", 0, p50_us=300.0, p99_us=900.0, added_p50_us=200.0, added_p99_us=700.0),
]
BARE_RESULT: dict[str, Any] = {
    "date": "2026-01-02",
    "command": "python -m benchmarks.run",
    "machine": {"cpu": "Test CPU", "cores": 2, "kernel": "6.1", "memory_gib": 8, "load": 0.1},
    "versions": {"remuda": "0.1.0", "python": "3.11.7", "nginx": "1.22.1", "litellm": "1.106.2"},
    "requests": 1_234_567,
    "failures": [],
    "samples": [],
}


def as_result(samples: list[Sample]) -> dict[str, Any]:
    return BARE_RESULT | {"samples": [dataclasses.asdict(each) for each in samples]}


RESULT = as_result(SAMPLES)


def test_a_row_shows_median_lowest_and_highest_and_the_median_of_the_ratios_within_rounds() -> None:
    # Ratios 1.5, 1.4, 1.6: the machine got three times slower between rounds, and the ratio stays.
    assert render_table(TABLES["requests"], SAMPLES) == [
        "|  | CPU µs per request | of it in user space | per second on one core | × nginx |",
        "|---|---:|---:|---:|---:|",
        "| nginx | 20.0 [10.0–30.0] | – | 30,000 [20,000–60,000] | 1.00 |",
        "| remuda | 28.0 [15.0–48.0] | 9.0 | 20,000 [10,000–40,000] | 1.50 |",
    ]


def test_a_table_without_a_measurement_is_left_out() -> None:
    assert render_table(TABLES["idle"], SAMPLES) == []
    assert "idle connections" not in render_markdown(RESULT)


def test_a_contestant_without_cpu_time_of_its_own_has_no_ratio() -> None:
    rows = [sample("requests", "direct", 0, cpu_us=0.0, per_s=80_000.0), *SAMPLES]
    assert ratio_to_baseline(rows, "direct", "cpu_us") is None
    assert render_table(TABLES["requests"], rows)[2] == "| direct | – | – | 80,000 | – |"


def test_the_report_says_how_long_it_took() -> None:
    assert "\nMeasured in 21 minutes\n" in render_markdown(RESULT | {"elapsed_s": 1234})
    assert "Measured in" not in render_markdown(RESULT)


def test_every_table_says_how_load_and_engines_wait() -> None:
    titles = {name: table.title for name, table in TABLES.items()}
    assert titles["requests"] == "Requests: 1 KB, 64 connections; load and engines never sleep"
    assert titles["requests-sleep"] == "Requests: 1 KB, 64 connections; load and engines sleep between events"


def test_the_report_names_failures() -> None:
    text = render_markdown(RESULT | {"failures": ["remuda, requests: {'bad_body': 3}"]})
    assert "wrong or lost: 1" in text
    assert "* remuda, requests: {'bad_body': 3}" in text
    assert "Answers checked: 1,234,567; wrong or lost: none" in render_markdown(RESULT)


def test_the_report_says_when_the_machine_was_not_quiet() -> None:
    assert "nginx took 10.0 to 30.0 µs for the same request in `requests`." in render_markdown(RESULT)
    quiet = [{"table": "requests", "contestant": "nginx", "round": n, "values": {"cpu_us": 10.0 + n}} for n in (0, 1)]
    assert "not quiet" not in render_markdown(RESULT | {"samples": quiet})


def test_the_readme_table_holds_the_figures_of_the_result() -> None:
    lines = render_readme(RESULT).splitlines()
    assert lines[:6] == [
        "| | CPU per request | CPU per streamed chunk | added time to first byte, p99 | memory, 1,000 streams |",
        "|---|---:|---:|---:|---:|",
        "| nginx (a plain proxy, no keys, no models) 1.22.1 | 20.0 µs | 8.0 µs | – | – |",
        "| **Remuda** (`make wheel`: compiled) | 28.0 µs (1.50 ×) | – | 0.7 ms | 41 MiB |",
        "| LiteLLM 1.106.2 | – | 640.0 µs (80 ×) | – | – |",
        "",
    ]
    assert len(lines) == 7  # no sentence about installations: remuda-python was not measured
    assert "1,234,567 answers" in lines[-1]
    assert "sleep" not in lines[-1]


def test_the_readme_says_what_each_kind_of_installation_gets_with_a_client_and_engines_that_sleep() -> None:
    costs_us = {"nginx": (20.0, 10.0), "bare": (26.0, 11.8), "remuda": (30.0, 12.0), "remuda-python": (35.0, 13.0)}
    rows = [
        sample(table + mode, name, 0, cpu_us=cost_us * (1.0 if mode else 0.5))
        for name, costs in costs_us.items()
        for table, cost_us in zip(("requests", "chunks"), costs, strict=True)
        for mode in ("", "-sleep")
    ]
    lines = render_readme(as_result(rows)).splitlines()
    assert lines[0].startswith("| | CPU per request | CPU per streamed chunk | request, awake | chunk, awake |")
    assert lines[2].endswith("| 20.0 µs | 10.0 µs | 10.0 µs | 5.0 µs | – | – |")
    assert lines[4].endswith("| 30.0 µs (1.50 ×) | 12.0 µs (1.20 ×) | 15.0 µs (1.50 ×) | 6.0 µs (1.20 ×) | – | – |")
    assert lines[7] == (
        "Installed from the compiled wheel, Remuda takes 1.50 times the CPU of nginx per request and 1.20 times per "
        "streamed chunk; installed from its sources, 1.75 times the CPU of nginx per request and 1.30 times per "
        "streamed chunk. The bare data path takes 1.30 times the CPU of nginx per request and 1.18 times per streamed "
        "chunk."
    )
    assert "Client and engines sleep between events" in lines[-1]


def test_the_readme_keeps_everything_around_its_table() -> None:
    before = "# Title\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nMore.\n"
    after = replace_table(before, RESULT)
    assert after == f"# Title\n<!-- bench:begin -->\n{render_readme(RESULT)}<!-- bench:end -->\nMore.\n"
    with pytest.raises(BenchError, match=r"^README.md has no <!-- bench:begin --> … <!-- bench:end -->$"):
        replace_table("# Title\n", RESULT)


def test_the_chart_is_well_formed_and_draws_one_bar_a_contestant() -> None:
    picture = ET.fromstring(render_chart(RESULT))
    widths = [float(bar.attrib["width"]) for bar in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths == [pytest.approx(450 * 20 / 28, abs=0.1), 450.0, 450.0]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        pytest.param([5.0], 0.99, 5.0, id="one value"),
        pytest.param([3.0, 1.0, 2.0], 0.5, 2.0, id="unsorted"),
        pytest.param([float(n) for n in range(101)], 0.99, 99.0, id="nearest rank"),
    ],
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_first_byte_delays_are_pooled_over_rounds_before_percentiles_are_taken() -> None:
    pooled = pool_first_bytes(
        [
            sample("first-byte", "direct", 0, all_us=[100.0, 110.0]),
            sample("first-byte", "remuda", 0, all_us=[300.0, 310.0]),
            sample("first-byte", "direct", 1, all_us=[120.0]),
            sample("first-byte", "remuda", 1, all_us=[320.0]),
            sample("requests", "nginx", 0, cpu_us=1.0),
            sample("first-byte-sleep", "direct", 0, all_us=[900.0]),
        ]
    )
    assert [(row.table, row.contestant) for row in pooled] == [
        ("requests", "nginx"),
        ("first-byte", "direct"),
        ("first-byte", "remuda"),
        ("first-byte-sleep", "direct"),
    ]
    pooled.pop()
    assert values_of(pooled, "remuda", "added_p50_us") == [200.0]
    assert values_of(pooled, "remuda", "added_p99_us") == [200.0]
    assert values_of(pooled, "remuda", "count") == [3]
    assert values_of(pooled, "direct", "added_p50_us") == []
