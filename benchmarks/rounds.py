"""Who is measured when: every round measures all contestants of a table once, in an order that rotates.

So drift of a shared machine meets everyone alike; figures are compared within a round.

Does not know what is measured (`tables`). Called by `run`.
"""

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.bench import Ask, Bench, Running, fetch
from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.processes import BenchError
from benchmarks.tables import Table, Values


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement."""

    table: str
    contestant: str
    round: int
    values: Values


def take_samples(bench: Bench, tables: Sequence[Table], names: Sequence[str]) -> list[Sample]:
    """Measure `tables` on the contestants among `names`. One that fails is a failure of the run, not its end."""
    lasting = [table for table in tables if not table.fresh]
    samples = _measure_lasting(bench, lasting, names)

    def on_fresh(table: Table, name: str) -> Values:
        with bench.started(CONTESTANTS[name]) as target:
            return table.measure(bench, target)

    for table in tables:
        if table.fresh:
            samples += _take_rounds(bench, table, names, on_fresh)
    return samples


def _measure_lasting(bench: Bench, tables: Sequence[Table], names: Sequence[str]) -> list[Sample]:
    """The tables whose contestants are all up, and idle, while one of them is measured."""
    samples: list[Sample] = []
    up: dict[str, Running] = {}
    with contextlib.ExitStack() as stack:
        for name in CONTESTANTS:
            if name in names and any(name in table.contestants for table in tables):
                with _noting_failure(bench, name):
                    up[name] = stack.enter_context(_start(bench, CONTESTANTS[name]))
        for table in tables:
            samples += _take_rounds(bench, table, list(up), lambda table, name: table.measure(bench, up[name]))
    return samples


@contextlib.contextmanager
def _start(bench: Bench, contestant: Contestant) -> Iterator[Running]:
    with bench.started(contestant) as target:
        _say(f"{contestant.name} ready after {target.ready_s:.2f} s")
        for _ in range(20):
            fetch(target.place.port, Ask())
        yield target


@contextlib.contextmanager
def _noting_failure(bench: Bench, name: str) -> Iterator[None]:
    try:
        yield
    except (BenchError, OSError, subprocess.TimeoutExpired) as problem:
        bench.failures.append(f"{name}: {problem}")
        _say(f"error: {name}: {problem}")


def _take_rounds(
    bench: Bench, table: Table, names: Sequence[str], measure: Callable[[Table, str], Values]
) -> list[Sample]:
    names = [name for name in table.contestants if name in names]
    samples: list[Sample] = []
    for number in range(table.rounds):
        shift = number % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            with _noting_failure(bench, name):
                began_s = time.monotonic()
                sample = Sample(table.name, name, number, measure(table, name))
                samples.append(sample)
                _say(f"{table.name} {number + 1}/{table.rounds} {name}: {_describe(table, sample, began_s)}")
    return samples


def _describe(table: Table, sample: Sample, began_s: float) -> str:
    columns = [column for column in table.columns if column.key in sample.values]
    shown = [f"{column.title} {sample.values[column.key]:.{column.digits}f}" for column in columns]
    return f"{', '.join(shown)} ({time.monotonic() - began_s:.1f} s)"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; `share` between 0 and 1."""
    ordered = sorted(values)
    if not ordered:
        raise BenchError("nothing was measured")
    return ordered[round((len(ordered) - 1) * share)]


def pool_first_bytes(samples: Sequence[Sample]) -> list[Sample]:
    """Replace raw delays by percentiles over all rounds of a contestant, and what it added to direct.

    p99 of one round would rest on two or three delays."""
    pooled: dict[str, list[float]] = {}
    for sample in samples:
        delays = sample.values.get("all_us")
        if isinstance(delays, list):
            pooled.setdefault(sample.contestant, []).extend(delays)
    base = pooled.get("direct")
    rows = [sample for sample in samples if "all_us" not in sample.values]
    for name, delays in pooled.items():
        values: Values = {"p50_us": statistics.median(delays), "p99_us": percentile(delays, 0.99), "count": len(delays)}
        if base and name != "direct":
            values["added_p50_us"] = statistics.median(delays) - statistics.median(base)
            values["added_p99_us"] = percentile(delays, 0.99) - percentile(base, 0.99)
        rows.append(Sample("first-byte", name, 0, values))
    return rows
