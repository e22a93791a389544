"""`python -m benchmarks.run [TABLE...]`: measures and prints; --save NAME writes the result into benchmarks/results.

This module reads the command line, opens the bench, and writes files. It does not know how anything is measured or
printed.
"""

import argparse
import dataclasses
import datetime as dt
import json
import os
import platform
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, open_bench
from benchmarks.contestants import CONTESTANTS
from benchmarks.processes import BenchError
from benchmarks.programs import HERE, RIVALS, TREE, nginx_version
from benchmarks.report import render_chart, render_markdown, render_readme
from benchmarks.rounds import pool_first_bytes, take_samples
from benchmarks.tables import TABLES

RESULTS = HERE / "results"
README = TREE / "README.md"
README_BEGIN, README_END = "<!-- bench:begin -->\n", "<!-- bench:end -->\n"
BUSY = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 when an answer was wrong or the benchmark could not run."""
    options = _parse(argv)
    if options.readme:
        README.write_text(replace_table(README.read_text(), json.loads(latest_result().read_text())))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the way out stops the servers
    try:
        with open_bench(options.realtime) as bench:
            result = _measure(bench, options)
    except BenchError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    print(render_markdown(result))
    if options.save:
        _save(result, options.save)
    return 1 if result["failures"] else 0


def replace_table(readme: str, result: dict[str, Any]) -> str:
    """The README with the table of `result` between its two markers."""
    before, begin, rest = readme.partition(README_BEGIN)
    _, end, after = rest.partition(README_END)
    if not (begin and end):
        raise BenchError(f"README.md has no {README_BEGIN.strip()} … {README_END.strip()}")
    return f"{before}{begin}{render_readme(result)}{end}{after}"


def latest_result() -> Path:
    """The newest saved result named data-path: the README shows it."""
    found = sorted(RESULTS.glob("*-data-path.json"))
    if not found:
        raise BenchError(f"no result in {RESULTS}\nhint: python -m benchmarks.run --save data-path")
    return found[-1]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="The gateway beside its rivals.")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}; default: all")
    parser.add_argument("--only", metavar="NAME,NAME", help=f"contestants, of {', '.join(CONTESTANTS)}")
    parser.add_argument("--rounds", type=int, help="instead of each table's own")
    parser.add_argument("--save", metavar="NAME", help="write results/<date>-NAME.json, .md and .svg")
    parser.add_argument(
        "--realtime", action="store_true", help="take precedence over all other programs (root; for a busy machine)"
    )
    parser.add_argument(
        "--readme", action="store_true", help="write the newest data-path result into README.md and stop"
    )
    options = parser.parse_args(argv)
    options.tables = options.tables or list(TABLES)
    options.only = options.only.split(",") if options.only else list(CONTESTANTS)
    for given, known in ((options.tables, TABLES), (options.only, CONTESTANTS)):
        for name in given:
            if name not in known:
                parser.error(f"{name} is none of {', '.join(known)}")
    return options


def _measure(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    load_before = os.getloadavg()[0]
    if load_before > BUSY:
        print(f"note: the machine is busy (load {load_before:.1f}): figures will be less exact", file=sys.stderr)
    tables = [TABLES[name] for name in options.tables]
    if options.rounds:
        tables = [dataclasses.replace(table, rounds=options.rounds) for table in tables]
    began_at = time.monotonic()
    samples = pool_first_bytes(take_samples(bench, tables, options.only))
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "command": shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]]),
        "machine": read_machine(load_before),
        "versions": _versions(options.only),
        "elapsed_s": round(time.monotonic() - began_at),
        "requests": bench.requests,
        "failures": bench.failures,
        "samples": [dataclasses.asdict(sample) for sample in samples],
    }


def read_machine(load_before: float) -> dict[str, Any]:
    """The machine. `load_before` is its load average before the run."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu or platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "memory_gib": round(memory),
        "load": round(load_before, 2),
    }


def _versions(names: Sequence[str]) -> dict[str, str]:
    versions = {"remuda": metadata.version("remuda"), "python": platform.python_version(), "nginx": nginx_version()}
    versions |= {name: rival.requirement.partition("==")[2] for name, rival in RIVALS.items()}
    return {name: version for name, version in versions.items() if name in (*names, "python")}


def _save(result: dict[str, Any], name: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"{result['date']}-{name}"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    stem.with_suffix(".md").write_text(render_markdown(result))
    stem.with_suffix(".svg").write_text(render_chart(result))
    print(f"wrote {stem}.json, .md and .svg", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
