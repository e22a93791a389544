"""Starts vLLM's API server so that no process of it outlives the one that started it.

Runs under the engine's own interpreter, so it imports nothing of Remuda: `python -P launch.py MODULE FLAGS…`.

vLLM's core is a grandchild of Remuda, and vLLM leaves it running when the API process is killed. Every process here
asks the kernel to be killed with its parent (PR_SET_PDEATHSIG): this one at once; the core and the workers when
multiprocessing imports this file in them as `__mp_main__`, before anything of vLLM runs; forked ones by an at-fork
hook. The signal follows the *thread* that started a process: Remuda starts engines from its main thread, and a child
forked by another thread of ours is left alone.
"""

import ctypes
import importlib
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1
PARENT_VARIABLE = "REMUDA_PARENT_PID"


def die_with_parent() -> None:
    """Ask for SIGKILL at the parent's death, and die now if it died before we asked."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        print(f"remuda: prctl failed with errno {ctypes.get_errno()}", file=sys.stderr)
    expected = os.environ.get(PARENT_VARIABLE, "")
    if expected.isdigit() and os.getppid() != int(expected):
        os.kill(os.getpid(), signal.SIGKILL)
    os.environ[PARENT_VARIABLE] = str(os.getpid())


def watch_forks() -> None:
    """Do the same in children forked by the main thread; another thread may end long before its children should."""
    forked_by_main: list[bool] = []

    def before() -> None:
        forked_by_main[:] = [threading.current_thread() is threading.main_thread()]

    def in_child() -> None:
        if forked_by_main and forked_by_main[0]:
            die_with_parent()

    os.register_at_fork(before=before, after_in_child=in_child)


if __name__ in ("__main__", "__mp_main__"):
    die_with_parent()
    watch_forks()

if __name__ == "__main__":
    module = sys.argv.pop(1)
    importlib.import_module(module).main()
