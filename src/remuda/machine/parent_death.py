"""Ends a process when its parent dies: the kernel sends it a signal (PR_SET_PDEATHSIG, prctl(2)).

The module imports only the standard library, because other interpreters run it by its path:

* `python -IS parent_death.py PROGRAM ARGUMENTS…` becomes PROGRAM, which dies with the parent too: the setting survives
  exec. This is for programs that cannot make the call themselves (uv).
* `engine/inside/` loads it under the engine's own interpreter.

The kernel sends the signal when the *thread* that started the process ends, so start such processes from the main
thread.
"""

import ctypes
import os
import signal
import sys

PARENT_VARIABLE = "REMUDA_PARENT_PID"
"""Holds the pid of the process that must be alive. The parent sets it for its child."""
_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Ask for signal `number` at the parent's death; send it now if the parent named by PARENT_VARIABLE is gone.

    Afterwards PARENT_VARIABLE names this process, so that its own children can do the same.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        print(f"remuda: prctl failed with errno {ctypes.get_errno()}", file=sys.stderr)
    expected = os.environ.get(PARENT_VARIABLE, "")
    if expected.isdigit() and os.getppid() != int(expected):
        os.kill(os.getpid(), number)
    os.environ[PARENT_VARIABLE] = str(os.getpid())


if __name__ == "__main__":
    die_with_parent()
    os.execv(sys.argv[1], sys.argv[1:])
