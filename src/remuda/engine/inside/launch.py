"""Starts vLLM's API server so that no process of it outlives the one that started it.

Runs under the engine's own interpreter, so it imports nothing of Remuda: `python -P launch.py MODULE FLAGS…`.

vLLM's core is a grandchild of Remuda, and vLLM leaves it running when the API process is killed. Every process here
asks the kernel to be killed with its parent (PR_SET_PDEATHSIG): this one at once; the core and the workers when
multiprocessing imports this file in them as `__mp_main__`, before anything of vLLM runs; forked ones by an at-fork
hook. The signal follows the *thread* that started a process: Remuda starts engines from its main thread, and a child
forked by another thread of ours is left alone.

For the same reason nothing removes the semaphores and shared memory of a killed engine: they get a prefix here, by
which Remuda finds them.
"""

import ctypes
import importlib
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1
PARENT_VARIABLE = "REMUDA_PARENT_PID"
SHM_PREFIX_VARIABLE = "REMUDA_SHM_PREFIX"


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


def name_shared_memory() -> None:
    """Have multiprocessing begin the names of semaphores and shared memory with our prefix.

    Neither has an interface for it; the names below are the same in Python 3.11 to 3.14, and a test holds them. A
    process takes them over from the one that spawned it, but locks made while its modules are imported come before.
    """
    prefix = os.environ.get(SHM_PREFIX_VARIABLE)
    if not prefix:
        return
    from multiprocessing import process, shared_memory

    process.current_process()._config["semprefix"] = f"/{prefix}sem"  # noqa: SLF001 (see above)
    shared_memory._SHM_NAME_PREFIX = f"/{prefix}"  # noqa: SLF001
    shared_memory._SHM_SAFE_NAME_LENGTH = len(prefix) + 9  # noqa: SLF001 (8 random digits, as many as before)


if __name__ in ("__main__", "__mp_main__"):
    die_with_parent()
    watch_forks()
    name_shared_memory()

if __name__ == "__main__":
    module = sys.argv.pop(1)
    importlib.import_module(module).main()
