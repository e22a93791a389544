"""`python -m remuda.gateway --fd N`: the gateway as a child process; see `control`. `remuda gateway` is for people."""

import sys

from remuda.gateway.control import run_from_socket


def main() -> int:
    """The one argument is the inherited socket."""
    if len(sys.argv) != 3 or sys.argv[1] != "--fd" or not sys.argv[2].isdecimal():
        sys.stderr.write(
            "usage: python -m remuda.gateway --fd NUMBER\nhint: people start it with `remuda gateway FILE`\n"
        )
        return 2
    return run_from_socket(int(sys.argv[2]))


if __name__ == "__main__":
    sys.exit(main())
