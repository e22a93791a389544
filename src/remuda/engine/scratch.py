"""A place of its own for what vLLM leaves behind when it is killed: sockets, temporary files, semaphores.

vLLM binds a socket per connection between its processes and names semaphores and shared memory at random; only an
orderly end removes them. So each engine gets a folder (VLLM_RPC_BASE_PATH, TMPDIR), and the folder's name is what its
names in /dev/shm begin with (set by inside/launch.py). All of it is removed when the engine has ended. A Remuda that
was killed cannot do that: it is known by the lock it no longer holds, and the next start of any engine does it instead.
Called by `supervise`.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from remuda.engine.errors import EngineError

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
    folder = _make_folder(bases)
    try:
        with (folder / _LOCK).open("w") as lock:
            _try_lock(lock.fileno())
            yield {"TMPDIR": str(folder), "VLLM_RPC_BASE_PATH": str(folder), SHM_PREFIX_VARIABLE: f"{folder.name}-"}
    finally:
        _remove(folder)


def _make_folder(bases: list[Path]) -> Path:
    reason = "every path is too long for a socket"
    for base in bases:
        longest = os.fsencode(base / f"{_PREFIX}12345678")
        if len(longest) + 1 + _SOCKET_NAME_BYTES > _SOCKET_PATH_BYTES:
            continue
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))  # in /tmp others must not guess its name
        except OSError as error:
            reason = f"{base}: {error.strerror}"
    raise EngineError(f"there is no folder for the engine's sockets: {reason}", "name one with TMPDIR")


def _sweep(bases: list[Path]) -> None:
    """Remove what a Remuda that was killed left: its lock is free, whatever process or container it ran in."""
    for folder in {folder for base in bases for folder in base.glob(f"{_PREFIX}*")}:
        with contextlib.suppress(OSError), (folder / _LOCK).open("r+") as lock:
            if _try_lock(lock.fileno()):
                _remove(folder)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks: then nothing is known to be dead
        return False
    return True


def _remove(folder: Path) -> None:
    """The folder, and every name in /dev/shm that begins with its name; what is another user's stays."""
    for entry in (*_SHM.glob(f"sem.{folder.name}-*"), *_SHM.glob(f"{folder.name}-*")):
        with contextlib.suppress(OSError):
            entry.unlink()
    shutil.rmtree(folder, ignore_errors=True)
