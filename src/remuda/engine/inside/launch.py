"""Starts vLLM's API server so that no process of it outlives the process that started it.

The file runs under the engine's own interpreter as `python -P launch.py MODULE FLAGS…`. It cannot import Remuda there,
so it loads machine/parent_death.py by its path.

vLLM's engine core is a grandchild of Remuda, and vLLM leaves it running when the API process is killed. Therefore every
process asks the kernel to be killed with its parent: the API process at once; the core and the workers when
multiprocessing imports this file in them as `__mp_main__`, before any code of vLLM runs; forked processes through an
at-fork hook. The kernel watches the *thread* that started a process: Remuda starts engines from its main thread, and
children that another thread forks are left out.

The core and the workers are bound to the CPU cores that Remuda gives this engine; the API process is not.

A killed engine cannot remove its semaphores and shared memory. Their names get a prefix here, by which Remuda finds and
removes them.
"""

import importlib
import importlib.util
import os
import sys
import threading
from pathlib import Path
from types import ModuleType

SHM_PREFIX_VARIABLE = "REMUDA_SHM_PREFIX"
CORES_VARIABLE = "REMUDA_CORES"


def load_parent_death() -> ModuleType:
    """The module machine/parent_death.py, which depends on nothing but the standard library."""
    path = Path(__file__).parents[2] / "machine" / "parent_death.py"
    spec = importlib.util.spec_from_file_location("remuda_parent_death", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


die_with_parent = load_parent_death().die_with_parent


def watch_forks() -> None:
    """Tie children that the main thread forks too; another thread may end long before its children should."""
    forked_by_main: list[bool] = []

    def before() -> None:
        forked_by_main[:] = [threading.current_thread() is threading.main_thread()]

    def in_child() -> None:
        if forked_by_main and forked_by_main[0]:
            die_with_parent()

    os.register_at_fork(before=before, after_in_child=in_child)


def name_shared_memory() -> None:
    """Make multiprocessing begin the names of semaphores and shared memory with our prefix.

    Neither has an interface for it. The names below are the same in Python 3.11 to 3.14, and a test checks them. A
    spawned process inherits them, but locks that are made while its modules are imported come before that.
    """
    prefix = os.environ.get(SHM_PREFIX_VARIABLE)
    if not prefix:
        return
    from multiprocessing import process, shared_memory

    process.current_process()._config["semprefix"] = f"/{prefix}sem"  # noqa: SLF001 (see above)
    shared_memory._SHM_NAME_PREFIX = f"/{prefix}"  # noqa: SLF001
    shared_memory._SHM_SAFE_NAME_LENGTH = len(prefix) + 9  # noqa: SLF001 (8 random digits, as many as before)


def bind_to_cores() -> None:
    """Bind this process, and what it starts, to the cores in CORES_VARIABLE, a list such as "2,3"."""
    cores = os.environ.get(CORES_VARIABLE)
    if cores:
        try:
            os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
        except OSError as error:  # a core that was taken away from this container since
            print(f"remuda: the cores {cores} cannot be used: {error.strerror}", file=sys.stderr)


if __name__ == "__mp_main__":
    bind_to_cores()

if __name__ in ("__main__", "__mp_main__"):
    die_with_parent()
    watch_forks()
    name_shared_memory()

if __name__ == "__main__":
    module = sys.argv.pop(1)
    importlib.import_module(module).main()
