"""`python -m benchmarks.two_engines [FILE]`: how long `remuda up` takes until every engine of FILE is ready.

Real engines, on this machine: examples/two-engines.yaml by default. What was downloaded before is used (a run with an
empty cache measures the network). Does not touch a fleet that already runs: `remuda up` refuses to start a second one.
"""

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.programs import HERE, TREE
from benchmarks.report import describe_machine
from benchmarks.run import read_machine

REMUDA = Path(sys.executable).parent / "remuda"
LIMIT_S = 300.0


def main() -> int:
    """Exit status 1 when an engine was not ready in the end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_engines", description=__doc__)
    parser.add_argument("file", nargs="?", default=str(TREE / "examples" / "two-engines.yaml"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write results/<date>-two-engines.json and .md")
    options = parser.parse_args()
    rounds = [time_start(options.file) for _ in range(options.rounds)]
    result = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "command": f"python -m benchmarks.two_engines {Path(options.file).name}",
        "machine": read_machine(os.getloadavg()[0]),
        "rounds": rounds,
    }
    print(render(result))
    if options.save:
        stem = HERE / "results" / f"{result['date']}-two-engines"
        stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        stem.with_suffix(".md").write_text(render(result))
    return 0 if all(each["states"] and set(each["states"]) == {"ready"} for each in rounds) else 1


def time_start(file: str) -> dict[str, Any]:
    """Up, look, down."""
    began_s = time.monotonic()
    up = subprocess.run([REMUDA, "up", "--detach", "--port", "0", file], check=False, timeout=LIMIT_S)
    ready_s = time.monotonic() - began_s
    if up.returncode:
        return {"ready_s": ready_s, "states": []}
    try:
        told = subprocess.run([REMUDA, "status", "--json"], capture_output=True, check=True, timeout=30)
        states = [engine["state"] for engine in json.loads(told.stdout)["engines"]]
    finally:
        subprocess.run([REMUDA, "down"], check=True, timeout=LIMIT_S)
    return {"ready_s": ready_s, "states": states}


def render(result: dict[str, Any]) -> str:
    """The report of one run."""
    lines = [
        f"# Engines ready, {result['date']}",
        "",
        f"Command: `{result['command']}`",
        describe_machine(result["machine"]),
        "",
    ]
    lines += ["| round | seconds until all are ready | engines |", "|---:|---:|---|"]
    for number, each in enumerate(result["rounds"], 1):
        lines.append(f"| {number} | {each['ready_s']:.1f} | {', '.join(each['states']) or 'did not start'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
