"""The tables: which load makes each of them, on which contestants, how often.

It does not know how a load is put on (`bench`), in which order contestants are measured (`rounds`) or how a table is
printed (`report`).
"""

import dataclasses
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.bench import Ask, Bench, Cost, Running, Wait
from benchmarks.contestants import SOURCES_REMUDA, up_environment
from benchmarks.processes import BenchError

Values = dict[str, float | list[float]]
EVENTS = 128
ROUTERS = ("nginx", "bare", "remuda", "remuda-python", "vllm-router", "sglang-router")
ALL = (*ROUTERS, "litellm")
SLEEPING = "-sleep"
"""Ends the names of the tables in which load and engines sleep."""
WAITS = {Wait.SPIN: "load and engines never sleep", Wait.SLEEP: "load and engines sleep between events"}


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
    rounds: int = 5
    compared: str | None = None
    """The column that is compared with nginx."""
    wait: Wait = Wait.SPIN
    fresh: bool = False
    """Each measurement gets a new process (memory, start)."""
    note: str = ""


def measure_requests(bench: Bench, target: Running) -> Values:
    """Closed loop, 64 keep-alive connections, 1 KB bodies."""
    bench.put_load(target, "requests", Ask(), connections=64, seconds=0.3)
    cost = bench.put_load(target, "requests", Ask(), connections=64, seconds=1.5)
    finished = cost.report["finished"]
    return {
        "cpu_us": cost.cpu_s / finished * 1e6,
        "user_us": cost.user_s / finished * 1e6,
        "per_s": finished / cost.report["elapsed_s"],
        "p50_us": cost.report["whole_us"]["p50"],
        "p99_us": cost.report["whole_us"]["p99"],
    }


def measure_chunks(bench: Bench, target: Running) -> Values:
    """500 streams of 128 events, 10 ms apart."""
    return _chunk_values(_stream(bench, target, 500))


def measure_few_chunks(bench: Bench, target: Running) -> Values:
    """20 streams: a read seldom finds more than one event."""
    return _chunk_values(_stream(bench, target, 20, times=2))


def _stream(bench: Bench, target: Running, streams: int, times: int = 1, every_ms: int = 0) -> Cost:
    streams = min(streams, target.contestant.streams_most)
    ask = Ask(EVENTS, every_ms)
    return bench.put_load(target, "streams", ask, connections=streams, count=streams * times, ramp_s=1)


def _chunk_values(cost: Cost) -> Values:
    report = cost.report
    return {
        "cpu_us": cost.cpu_s / report["events"] * 1e6,
        "user_us": cost.user_s / report["events"] * 1e6,
        "per_s": report["events"] / report["elapsed_s"],
        "delay_p50_us": report["event_delay_us"]["p50"],
        "delay_p99_us": report["event_delay_us"]["p99"],
        "streams": report["finished"],
    }


def measure_first_byte(bench: Bench, target: Running) -> Values:
    """Open loop, 50 streams of 16 events begin each second; the time to the first event, as the client sees it."""
    rate = min(50.0, target.contestant.rate_most)
    bench.put_load(target, "rate", Ask(16), connections=64, rate=rate, seconds=0.5)
    cost = bench.put_load(target, "rate", Ask(16), connections=64, rate=rate, seconds=4)
    return {"all_us": list(cost.report["first_byte_us"]["all"])}


def measure_many_streams(bench: Bench, target: Running) -> Values:
    """1,000 streams at once, 25 ms between events (40,000 events a second), on a new process."""
    cost = _stream(bench, target, 1000, every_ms=25)
    return {
        "started": cost.report["started"],
        "lost": cost.report["started"] - cost.report["finished"] + sum(cost.report["failures"].values()),
        "rss_start_mib": cost.rss_start_mib,
        "rss_mib": cost.rss_peak_mib,
        "cpu_us": cost.cpu_s / cost.report["events"] * 1e6,
    }


def measure_idle(bench: Bench, target: Running) -> Values:
    """10,000 connections stay open for 2 s; then each sends one request."""
    cost = bench.put_load(target, "idle", Ask(), connections=10_000, hold_s=2)
    return {"held": cost.report["finished"], "rss_start_mib": cost.rss_start_mib, "rss_mib": cost.rss_peak_mib}


def measure_first_run(bench: Bench, target: Running) -> Values:
    """From the start of the process to the first correct answer, and the most memory meanwhile."""
    assert bench.folder
    return {"ready_s": target.ready_s, "rss_mib": target.rss_start_peak_mib}


def measure_two_engines(bench: Bench, target: Running) -> Values:
    """The same, and how many engines are ready. Fails when one is not."""
    command = (str(SOURCES_REMUDA), "status", "--json")
    env = {**os.environ, **up_environment(target.place)}
    told = subprocess.run(command, capture_output=True, check=True, timeout=30, env=env)
    engines = json.loads(told.stdout)["engines"]
    states = [engine["state"] for engine in engines]
    if set(states) != {"ready"}:
        raise BenchError(f"not every engine is ready: {', '.join(states) or 'there is none'}")
    return measure_first_run(bench, target) | {"ready": len(states)}


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


def _in_both_modes(table: Table) -> Iterator[Table]:
    for wait, words in WAITS.items():
        name = table.name + (SLEEPING if wait is Wait.SLEEP else "")
        yield dataclasses.replace(table, name=name, title=f"{table.title}; {words}", wait=wait)


CPU_PER_REQUEST = Column("cpu_us", "CPU µs per request")
CPU_PER_CHUNK = Column("cpu_us", "CPU µs per chunk")
IN_USER_SPACE = Column("user_us", "of it in user space")
PER_S = Column("per_s", "per second on one core", 0)
DELAYS = (Column("delay_p50_us", "chunk delay p50 µs", 0), Column("delay_p99_us", "p99 µs", 0))
RSS = (Column("rss_start_mib", "memory at rest, MiB", 0), Column("rss_mib", "memory, MiB", 0))
FIRST_RUN = (Column("ready_s", "seconds until ready", 2), Column("rss_mib", "most memory, MiB", 0))

REQUESTS = Table(
    name="requests",
    title="Requests: 1 KB, 64 connections",
    columns=(CPU_PER_REQUEST, IN_USER_SPACE, PER_S),
    measure=measure_requests,
    contestants=("direct", *ALL),
    compared="cpu_us",
)
CHUNKS = Table(
    name="chunks",
    title="Streams: 500 at once, 100 chunks a second each",
    columns=(CPU_PER_CHUNK, IN_USER_SPACE, *DELAYS),
    measure=measure_chunks,
    contestants=("direct", *ALL),
    compared="cpu_us",
    note="LiteLLM with 8 streams: more of them saturate its core.",
)
FEW_CHUNKS = Table(
    name="chunks-20",
    title="Streams: 20 at once",
    columns=(CPU_PER_CHUNK, IN_USER_SPACE, *DELAYS),
    measure=measure_few_chunks,
    contestants=ROUTERS,
    rounds=3,
    compared="cpu_us",
)
FIRST_BYTE = Table(
    name="first-byte",
    title="Time to first byte, 50 streams begin each second",
    columns=(
        Column("added_p50_us", "added p50 µs", 0),
        Column("added_p99_us", "added p99 µs", 0),
        Column("p99_us", "p99 µs", 0),
    ),
    measure=measure_first_byte,
    contestants=("direct", *ALL),
    rounds=3,
    note="Added = minus direct; percentiles over all rounds together. LiteLLM at 8 per second.",
)
MANY_STREAMS = Table(
    name="streams-1000",
    title="1,000 streams at once, 40 chunks a second each",
    columns=(Column("started", "streams", 0), Column("lost", "lost", 0), *RSS, CPU_PER_CHUNK),
    measure=measure_many_streams,
    contestants=ROUTERS,
    rounds=1,
    fresh=True,
)
IDLE = Table(
    name="idle",
    title="10,000 idle connections",
    columns=(Column("held", "answered after 2 s", 0), *RSS),
    measure=measure_idle,
    contestants=("nginx", "remuda"),
    rounds=1,
    fresh=True,
)
START = Table(
    name="first-run",
    title="First run: from nothing running to ready",
    columns=FIRST_RUN,
    measure=measure_first_run,
    contestants=("nginx", "remuda-child", "remuda", "remuda-up", "vllm-router", "sglang-router"),
    rounds=3,
    fresh=True,
    note="remuda-child: the gateway as `remuda up` starts it; it reads no file. remuda: `remuda gateway FILE`. "
    "remuda-up: `remuda up examples/laptop.yaml` on all cores, vLLM installed before; nearly all of it is vLLM.",
)
TWO_ENGINES = Table(
    name="two-engines",
    title="Two real engines: from `remuda up` to both ready",
    columns=(Column("ready", "engines ready", 0), *FIRST_RUN),
    measure=measure_two_engines,
    contestants=("remuda-up-two",),
    rounds=3,
    fresh=True,
    note="`remuda up examples/two-engines.yaml` on all cores, vLLM installed before.",
)
SOAK = Table(
    name="soak",
    title="One million requests",
    columns=(
        Column("requests", "requests", 0),
        RSS[0],
        Column("rss_100k_mib", "after 100,000, MiB", 1),
        Column("rss_mib", "at the end, MiB", 1),
    ),
    measure=measure_soak,
    contestants=("remuda",),
    rounds=1,
    fresh=True,
)
TABLES = {
    table.name: table
    for table in (
        *_in_both_modes(REQUESTS),
        *_in_both_modes(CHUNKS),
        *_in_both_modes(FEW_CHUNKS),
        *_in_both_modes(FIRST_BYTE),
        MANY_STREAMS,
        IDLE,
        START,
        TWO_ENGINES,
        SOAK,
    )
}
