"""The tables: which load makes each, on whom, how often.

Does not know how a load is put on (`bench`), in which order contestants are measured (`rounds`) or how a table is
printed (`report`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bench import Ask, Bench, Cost, Running

Values = dict[str, float | list[float]]
EVENTS = 128
ROUTERS = ("nginx", "remuda", "remuda-python", "vllm-router", "sglang-router")
ALL = (*ROUTERS, "litellm")


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a table."""

    key: str
    title: str
    digits: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the report."""

    name: str
    title: str
    columns: tuple[Column, ...]
    measure: Callable[[Bench, Running], Values]
    contestants: tuple[str, ...] = ALL
    rounds: int = 7
    compared: str | None = None
    """The column that is compared with nginx."""
    fresh: bool = False
    """Each measurement gets a process of its own (memory, start)."""
    by_default: bool = True
    note: str = ""


def measure_requests(bench: Bench, target: Running) -> Values:
    """Closed loop, 64 keep-alive connections, 1 KB bodies."""
    bench.put_load(target, "requests", Ask(), connections=64, seconds=0.3)
    cost = bench.put_load(target, "requests", Ask(), connections=64, seconds=1.5)
    finished = cost.report["finished"]
    return {
        "cpu_us": cost.cpu_s / finished * 1e6,
        "per_s": finished / cost.report["elapsed_s"],
        "p50_us": cost.report["whole_us"]["p50"],
        "p99_us": cost.report["whole_us"]["p99"],
    }


def measure_chunks(bench: Bench, target: Running) -> Values:
    """500 streams of 128 events, 10 ms apart."""
    return _chunk_values(_stream(bench, target, 500))


def measure_few_chunks(bench: Bench, target: Running) -> Values:
    """20 streams: nothing is batched by load."""
    return _chunk_values(_stream(bench, target, 20, times=2))


def _stream(bench: Bench, target: Running, streams: int, times: int = 1, every_ms: int = 0) -> Cost:
    streams = min(streams, target.contestant.streams_most)
    ask = Ask(EVENTS, every_ms)
    return bench.put_load(target, "streams", ask, connections=streams, count=streams * times, ramp_s=1)


def _chunk_values(cost: Cost) -> Values:
    report = cost.report
    return {
        "cpu_us": cost.cpu_s / report["events"] * 1e6,
        "per_s": report["events"] / report["elapsed_s"],
        "delay_p50_us": report["event_delay_us"]["p50"],
        "delay_p99_us": report["event_delay_us"]["p99"],
        "streams": report["finished"],
    }


def measure_first_byte(bench: Bench, target: Running) -> Values:
    """Open loop, 50 streams of 16 events begun each second; the time to the first event, as the client sees it."""
    rate = min(50.0, target.contestant.rate_most)
    bench.put_load(target, "rate", Ask(16), connections=64, rate=rate, seconds=0.5)
    cost = bench.put_load(target, "rate", Ask(16), connections=64, rate=rate, seconds=4)
    return {"all_us": list(cost.report["first_byte_us"]["all"])}


def measure_many_streams(bench: Bench, target: Running) -> Values:
    """1,000 streams at once, 25 ms between events (40,000 events a second), on a fresh process."""
    cost = _stream(bench, target, 1000, every_ms=25)
    return {
        "started": cost.report["started"],
        "lost": cost.report["started"] - cost.report["finished"] + sum(cost.report["failures"].values()),
        "rss_start_mib": cost.rss_start_mib,
        "rss_mib": cost.rss_peak_mib,
        "cpu_us": cost.cpu_s / cost.report["events"] * 1e6,
    }


def measure_idle(bench: Bench, target: Running) -> Values:
    """10,000 connections held open for 2 s; then one request on each."""
    cost = bench.put_load(target, "idle", Ask(), connections=10_000, hold_s=2)
    return {"held": cost.report["finished"], "rss_start_mib": cost.rss_start_mib, "rss_mib": cost.rss_peak_mib}


def measure_start(bench: Bench, target: Running) -> Values:
    """From the start of the process to the first right answer."""
    assert bench.folder
    return {"ready_s": target.ready_s, "rss_mib": target.rss_mib()}


def measure_soak(bench: Bench, target: Running) -> Values:
    """A million requests; memory after the first tenth and at the end."""
    warm = bench.put_load(target, "requests", Ask(), connections=64, count=100_000)
    rest = bench.put_load(target, "requests", Ask(), connections=64, count=900_000)
    return {
        "requests": warm.report["finished"] + rest.report["finished"],
        "rss_start_mib": warm.rss_start_mib,
        "rss_100k_mib": warm.rss_end_mib,
        "rss_mib": rest.rss_end_mib,
        "cpu_us": rest.cpu_s / rest.report["finished"] * 1e6,
    }


CPU_PER_REQUEST = Column("cpu_us", "CPU µs per request")
CPU_PER_CHUNK = Column("cpu_us", "CPU µs per chunk")
PER_S = Column("per_s", "per second on one core", 0)
DELAYS = (Column("delay_p50_us", "chunk delay p50 µs", 0), Column("delay_p99_us", "p99 µs", 0))
RSS = (Column("rss_start_mib", "memory at rest, MiB", 0), Column("rss_mib", "memory, MiB", 0))

TABLES = {
    table.name: table
    for table in (
        Table(
            "requests",
            "Requests: 1 KB, 64 connections",
            (CPU_PER_REQUEST, PER_S),
            measure_requests,
            ("direct", *ALL),
            compared="cpu_us",
        ),
        Table(
            *(
                "chunks",
                "Streams: 500 at once, 100 chunks a second each",
                (CPU_PER_CHUNK, *DELAYS),
                measure_chunks,
                ("direct", *ALL),
            ),
            compared="cpu_us",
            note="LiteLLM with 8 streams: more than that saturates its core.",
        ),
        Table(
            "chunks-20",
            "Streams: 20 at once",
            (CPU_PER_CHUNK, *DELAYS),
            measure_few_chunks,
            ROUTERS,
            rounds=3,
            compared="cpu_us",
        ),
        Table(
            "first-byte",
            "Time to first byte, 50 streams begun per second",
            (
                Column("added_p50_us", "added p50 µs", 0),
                Column("added_p99_us", "added p99 µs", 0),
                Column("p99_us", "p99 µs", 0),
            ),
            measure_first_byte,
            ("direct", *ALL),
            rounds=3,
            note="Added = minus direct, percentiles over all rounds together. LiteLLM at 8 per second.",
        ),
        Table(
            "streams-1000",
            "1,000 streams at once, 40 chunks a second each",
            (Column("started", "streams", 0), Column("lost", "lost", 0), *RSS, CPU_PER_CHUNK),
            measure_many_streams,
            ROUTERS,
            rounds=1,
            fresh=True,
        ),
        Table(
            "idle",
            "10,000 idle connections",
            (Column("held", "answered after 2 s", 0), *RSS),
            measure_idle,
            ("nginx", "remuda"),
            rounds=1,
            fresh=True,
        ),
        Table(
            "start",
            "From start to the first answer",
            (Column("ready_s", "seconds", 2), RSS[1]),
            measure_start,
            ("nginx", "remuda", "remuda-child", "vllm-router", "sglang-router"),
            rounds=5,
            fresh=True,
            note="remuda: `remuda gateway FILE`. remuda-child: as `remuda up` starts it, without reading a file.",
        ),
        Table(
            "soak",
            "One million requests",
            (
                Column("requests", "requests", 0),
                RSS[0],
                Column("rss_100k_mib", "after 100,000, MiB", 1),
                Column("rss_mib", "at the end, MiB", 1),
            ),
            measure_soak,
            ("remuda",),
            rounds=1,
            fresh=True,
            by_default=False,
        ),
    )
}
