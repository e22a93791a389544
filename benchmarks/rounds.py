"""Who is measured when: every round measures all contestants of a table once, in an order that rotates.

So the drift of a shared machine affects all of them alike; figures are compared within a round. It does not know what
is measured (`tables`).
"""

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

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


@dataclass(slots=True)
class Progress:
    """How many measurements are done, of how many, and since when."""

    total: int
    done: int = 0
    began_at: float = field(default_factory=time.monotonic)

    def show(self, line: str) -> None:
        elapsed_s = round(time.monotonic() - self.began_at)
        print(f"[{self.done}/{self.total} {elapsed_s // 60}:{elapsed_s % 60:02}] {line}", file=sys.stderr, flush=True)


def take_samples(bench: Bench, tables: Sequence[Table], names: Sequence[str]) -> list[Sample]:
    """Measure `tables` on the contestants among `names`. A contestant that fails does not end the run."""
    progress = Progress(sum(table.rounds * len(_present(table, names)) for table in tables))
    samples = _measure_lasting(bench, [table for table in tables if not table.fresh], names, progress)

    def on_fresh(table: Table, name: str) -> Values:
        with bench.started(CONTESTANTS[name]) as target:
            return table.measure(bench, target)

    for table in tables:
        if table.fresh:
            samples += _take_rounds(bench, table, names, on_fresh, progress)
    return samples


def _present(table: Table, names: Sequence[str]) -> list[str]:
    return [name for name in table.contestants if name in names]


def _measure_lasting(bench: Bench, tables: Sequence[Table], names: Sequence[str], progress: Progress) -> list[Sample]:
    """The tables whose contestants are all up: the others are idle while one of them is measured."""
    samples: list[Sample] = []
    up: dict[str, Running] = {}
    with contextlib.ExitStack() as stack:
        for name in CONTESTANTS:
            if any(name in _present(table, names) for table in tables):
                with _noting_failure(bench, name, progress):
                    up[name] = stack.enter_context(_start(bench, CONTESTANTS[name], progress))
        for table in tables:
            measure = lambda table, name: table.measure(bench, up[name])  # noqa: E731 - needs `up`
            samples += _take_rounds(bench, table, list(up), measure, progress)
    return samples


@contextlib.contextmanager
def _start(bench: Bench, contestant: Contestant, progress: Progress) -> Iterator[Running]:
    with bench.started(contestant) as target:
        progress.show(f"{contestant.name} ready after {target.ready_s:.2f} s")
        for _ in range(20):
            fetch(target.place.port, Ask())
        yield target


@contextlib.contextmanager
def _noting_failure(bench: Bench, name: str, progress: Progress) -> Iterator[None]:
    try:
        yield
    except (BenchError, OSError, subprocess.SubprocessError) as problem:
        bench.failures.append(f"{name}: {problem}")
        progress.show(f"error: {name}: {problem}")


def _take_rounds(
    bench: Bench,
    table: Table,
    names: Sequence[str],
    measure: Callable[[Table, str], Values],
    progress: Progress,
) -> list[Sample]:
    names = _present(table, names)
    samples: list[Sample] = []
    bench.set_wait(table.wait)
    for number in range(table.rounds):
        shift = number % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            progress.done += 1
            with _noting_failure(bench, name, progress):
                began_at = time.monotonic()
                sample = Sample(table.name, name, number, measure(table, name))
                samples.append(sample)
                took_s = time.monotonic() - began_at
                where = f"{table.name} {number + 1}/{table.rounds} {name}"
                progress.show(f"{where}: {_describe(table, sample)} ({took_s:.1f} s)")
    return samples


def _describe(table: Table, sample: Sample) -> str:
    columns = [column for column in table.columns if column.key in sample.values]
    return ", ".join(f"{column.title} {sample.values[column.key]:.{column.digits}f}" for column in columns)


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank; `share` is between 0 and 1."""
    ordered = sorted(values)
    if not ordered:
        raise BenchError("nothing was measured")
    return ordered[round((len(ordered) - 1) * share)]


def pool_first_bytes(samples: Sequence[Sample]) -> list[Sample]:
    """Replace each table's raw delays by percentiles over all rounds of a contestant, and what it added to direct.

    The p99 of one round would rest on two or three delays.
    """
    rows = [sample for sample in samples if "all_us" not in sample.values]
    tables = dict.fromkeys(sample.table for sample in samples if "all_us" in sample.values)
    for table in tables:
        rows += _pool(table, [sample for sample in samples if sample.table == table])
    return rows


def _pool(table: str, samples: Sequence[Sample]) -> Iterator[Sample]:
    pooled: dict[str, list[float]] = {}
    for sample in samples:
        delays_us = sample.values["all_us"]
        assert isinstance(delays_us, list)
        pooled.setdefault(sample.contestant, []).extend(delays_us)
    base_us = pooled.get("direct")
    for name, all_us in pooled.items():
        p50_us, p99_us = statistics.median(all_us), percentile(all_us, 0.99)
        values: Values = {"p50_us": p50_us, "p99_us": p99_us, "count": len(all_us)}
        if base_us and name != "direct":
            values["added_p50_us"] = p50_us - statistics.median(base_us)
            values["added_p99_us"] = p99_us - percentile(base_us, 0.99)
        yield Sample(table, name, 0, values)
