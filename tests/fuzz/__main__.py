"""The long run; see the package."""

import argparse
import sys

from tests.fuzz.running import Report, for_seconds, fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Compare our parsers with the engine's.")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together (default: 60)")
    parser.add_argument("--target", choices=TARGETS, help="only this one")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other inputs (default: 1)")
    wanted = parser.parse_args()
    targets = [TARGETS[wanted.target]] if wanted.target else list(TARGETS.values())
    broken = 0
    for target in targets:
        report = fuzz(target, wanted.seed, for_seconds(wanted.seconds / len(targets)))
        print_report(report)
        broken += len(report.broken)
    return 1 if broken else 0


def print_report(report: Report) -> None:
    print(
        f"{report.target}: {report.executions} executions, {report.accepted} accepted, "
        f"{len(report.readings)} different readings, {len(report.broken)} rules broken"
    )
    shortest: dict[str, bytes] = {}
    for data, rule in report.broken:
        kind = rule[:40]
        if kind not in shortest or len(data) < len(shortest[kind]):
            shortest[kind] = data
            print(f"  {rule}\n    {data!r}")


if __name__ == "__main__":
    sys.exit(main())
