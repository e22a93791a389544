"""The gateway's process: `--fd N`, told what to do by a supervisor (`control`), or `--plan N`, alone (`standalone`)."""

import sys

USAGE = "usage: python -m remuda.gateway --fd NUMBER\nhint: people start it with `remuda gateway FILE`\n"


def main() -> int:
    """The one argument is an inherited descriptor."""
    match sys.argv[1:]:
        case ["--fd", number] if number.isdecimal():
            from remuda.gateway.supervised import run_from_socket

            return run_from_socket(int(number))
        case ["--plan", number] if number.isdecimal():
            from remuda.gateway.standalone import run_from_plan

            return run_from_plan(int(number))
    sys.stderr.write(USAGE)
    return 2


if __name__ == "__main__":
    sys.exit(main())
