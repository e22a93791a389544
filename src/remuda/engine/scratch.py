"""Gives each engine a folder of its own, and removes what a killed vLLM leaves: sockets, files, semaphores.

vLLM binds sockets between its processes and names semaphores and shared memory at random, and removes them only at an
orderly end. So each engine gets a folder (VLLM_RPC_BASE_PATH, TMPDIR), and its names in /dev/shm begin with the name of
that folder (inside/launch.py). All of it is removed when the engine has ended. If Remuda itself is killed, its lock on
the folder is free, and the next start of any engine removes the folder.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TextIO

from remuda.engine.errors import EngineError
from remuda.machine import locks

SHM_PREFIX_VARIABLE: Final = "REMUDA_SHM_PREFIX"
"""inside/launch.py reads it."""
_PREFIX: Final = "remuda-engine-"
_LOCK: Final = "lock"
_SOCKET_PATH_BYTES: Final = 107
"""The longest path of a unix socket on Linux (sun_path without its final zero)."""
_SOCKET_NAME_BYTES: Final = 36
"""A UUID: how vLLM 0.32.0 names its sockets (utils/network_utils.py)."""
_SHM: Final = Path("/dev/shm")  # noqa: S108 (only names with our prefix are touched)
_SHORT: Final = Path("/tmp")  # noqa: S108 (mkdtemp makes a private folder in it)


@contextlib.contextmanager
def own_scratch(preferred: Path) -> Iterator[Mapping[str, str]]:
    """The variables that name an engine's own folder. The folder is removed when the block ends.

    It is made in the user's TMPDIR if that is set, else in `preferred`, or in /tmp where the path of a socket would be
    too long.
    """
    bases = [*map(Path, filter(None, [os.environ.get("TMPDIR")])), preferred, _SHORT]
    _sweep(bases)
    folder, lock = _make_folder(bases)
    with lock:
        try:
            yield {"TMPDIR": str(folder), "VLLM_RPC_BASE_PATH": str(folder), SHM_PREFIX_VARIABLE: f"{folder.name}-"}
        finally:
            _remove(folder)


def _make_folder(bases: list[Path]) -> tuple[Path, TextIO]:
    reason = "every path is too long for a socket"
    for base in bases:
        longest = os.fsencode(base / f"{_PREFIX}12345678")
        if len(longest) + 1 + _SOCKET_NAME_BYTES > _SOCKET_PATH_BYTES:
            continue
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))  # others must not guess its name in /tmp
            return folder, _hold_lock(folder)
        except OSError as error:
            reason = f"{base}: {error.strerror}"
    raise EngineError(f"there is no folder for the engine's sockets: {reason}", "name one with TMPDIR")


def _hold_lock(folder: Path) -> TextIO:
    """Take the lock, then give it its name, so that a free lock of that name means that its owner is gone.

    On a file system without locks it never gets its name, and the folder of a killed Remuda stays.
    """
    try:
        lock = (folder / f"{_LOCK}.new").open("w")
        if _try_lock(lock.fileno()):
            os.rename(lock.name, folder / _LOCK)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return lock


def _sweep(bases: list[Path]) -> None:
    """Remove the folders of killed supervisors: their locks are free, in whatever container they ran."""
    for folder in {folder for base in bases for folder in _list_own(base)}:
        with contextlib.suppress(OSError), (folder / _LOCK).open("r+") as lock:
            if _try_lock(lock.fileno()):
                _remove(folder)


def _list_own(base: Path) -> list[Path]:
    """This user's engine folders in `base`. In /tmp anybody can make a folder of any name."""
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        return [
            Path(entry)
            for entry in entries
            if entry.name.startswith(_PREFIX)
            and entry.is_dir(follow_symlinks=False)
            and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
        ]
    return []


def _try_lock(descriptor: int) -> bool:
    try:
        return locks.try_lock(descriptor)
    except OSError:  # a file system without locks
        return False


def _remove(folder: Path) -> None:
    """Remove the folder, and every name in /dev/shm that begins with its name."""
    begins = (f"sem.{folder.name}-", f"{folder.name}-")
    with contextlib.suppress(OSError):
        for name in os.listdir(_SHM):
            if name.startswith(begins):
                with contextlib.suppress(OSError):  # it belongs to another user
                    (_SHM / name).unlink()
    shutil.rmtree(folder, ignore_errors=True)
