"""Locks between processes, on files (flock). The kernel frees a lock when its holder ends, however it ends.

A lock file stays when its lock is freed: removing it would let two processes lock two different files of one name.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

_LOOKS: Final = 5
_LOOK_S: Final = 0.01
"""`is_locked` of another process holds the lock for microseconds; that must not look like a holder."""


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take the lock on an open file if it is free. Other errors (a file system without locks) are raised."""
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_often(descriptor: int) -> bool:
    for _ in range(_LOOKS):
        if try_lock(descriptor):
            return True
        time.sleep(_LOOK_S)
    return False


@contextlib.contextmanager
def hold_lock(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock on the file at `path`, which is created if it is missing, while the block runs.

    When another process holds it, `on_wait` is called once and the call then blocks the thread until the lock is free.
    What `on_wait` raises is raised here instead.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        if not _try_often(descriptor):
            if on_wait is not None:
                on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on the file at `path` now; a file that cannot be opened is not locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not try_lock(descriptor, shared=True)
    finally:
        os.close(descriptor)
