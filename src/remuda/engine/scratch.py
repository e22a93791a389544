"""A place of its own for what vLLM leaves behind when it is killed: sockets, temporary files, semaphores.

vLLM binds a socket per connection between its processes and names semaphores and shared memory at random; only an
orderly end removes them. So each engine gets a folder (VLLM_RPC_BASE_PATH, TMPDIR), and the folder's name is what its
names in /dev/shm begin with (set by inside/launch.py). All of it is removed when the engine has ended. A Remuda that
was killed cannot do that: it is known by the lock it no longer holds, and the next start of any engine does it instead.
Called by `supervise`.
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
"""Read by inside/launch.py."""
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
    """The variables that lead an engine to its own places, which are gone when the block ends.

    The user's TMPDIR is where the folder is made, when there is one; else `preferred`; /tmp where a socket's path would
    become too long.
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
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))  # in /tmp others must not guess its name
            return folder, _hold_lock(folder)
        except OSError as error:
            reason = f"{base}: {error.strerror}"
    raise EngineError(f"there is no folder for the engine's sockets: {reason}", "name one with TMPDIR")


def _hold_lock(folder: Path) -> TextIO:
    """The lock gets its name when it is held: a free one means that its owner is gone.

    On a file system without locks it never gets it, and the folder of a killed Remuda stays: nothing is known of it.
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
    """Remove what a Remuda that was killed left: its lock is free, whatever process or container it ran in."""
    for folder in {folder for base in bases for folder in _list_own(base)}:
        with contextlib.suppress(OSError), (folder / _LOCK).open("r+") as lock:
            if _try_lock(lock.fileno()):
                _remove(folder)


def _list_own(base: Path) -> list[Path]:
    """Folders of engines in `base`, of this user's. In /tmp anybody can make one of any name, even of a living one."""
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
    """The folder, and every name in /dev/shm that begins with its name."""
    begins = (f"sem.{folder.name}-", f"{folder.name}-")
    with contextlib.suppress(OSError):
        for name in os.listdir(_SHM):
            if name.startswith(begins):
                with contextlib.suppress(OSError):  # another user's
                    (_SHM / name).unlink()
    shutil.rmtree(folder, ignore_errors=True)
