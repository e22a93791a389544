"""A place of its own for what vLLM leaves behind when it is killed: sockets, temporary files, semaphores.

vLLM binds a socket per connection between its processes and names semaphores and shared memory at random; only an
orderly end removes them. So each engine gets a folder (VLLM_RPC_BASE_PATH, TMPDIR) and a prefix for the names in
/dev/shm (set by inside/launch.py), and whatever bears them is removed before a start and after an end. What a killed
Remuda leaves goes with the next start of the same engine. Called by `supervise`.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from remuda.engine.errors import EngineError

SHM_PREFIX_VARIABLE: Final = "REMUDA_SHM_PREFIX"
"""Read by inside/launch.py."""
_SOCKET_PATH_BYTES: Final = 107
"""The longest path of a unix socket on Linux (sun_path without its final zero)."""
_SOCKET_NAME_BYTES: Final = 36
"""A UUID: how vLLM 0.32.0 names its sockets (utils/network_utils.py)."""
_SHM: Final = Path("/dev/shm")  # noqa: S108 (only names with our prefix are touched)
_SHORT: Final = Path("/tmp")  # noqa: S108 (mkdtemp makes a private folder in it)


@contextlib.contextmanager
def own_scratch(preferred: Path, engine_id: str) -> Iterator[Mapping[str, str]]:
    """The variables that lead an engine to its own places, which are gone when the block ends.

    The user's TMPDIR is where the folder is made, when there is one; else `preferred`; /tmp where a socket's path would
    become too long.
    """
    prefix = f"remuda-{hashlib.sha256(f'{preferred}/{engine_id}'.encode()).hexdigest()[:8]}-"
    bases = [*map(Path, filter(None, [os.environ.get("TMPDIR")])), preferred, _SHORT]
    _clear(prefix, bases)
    folder = _make_folder(prefix, bases)
    try:
        yield {"TMPDIR": folder, "VLLM_RPC_BASE_PATH": folder, SHM_PREFIX_VARIABLE: prefix}
    finally:
        _clear(prefix, bases)


def _make_folder(prefix: str, bases: list[Path]) -> str:
    reason = "every path is too long for a socket"
    for base in bases:
        longest = os.fsencode(base / f"{prefix}12345678")
        if len(longest) + 1 + _SOCKET_NAME_BYTES > _SOCKET_PATH_BYTES:
            continue
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            return tempfile.mkdtemp(prefix=prefix, dir=base)  # in /tmp others must not guess its name
        except OSError as error:
            reason = f"{base}: {error.strerror}"
    raise EngineError(f"there is no folder for the engine's sockets: {reason}", "name one with TMPDIR")


def _clear(prefix: str, bases: list[Path]) -> None:
    """Remove everything that bears the prefix; what is another user's stays."""
    for base in bases:
        for folder in base.glob(f"{prefix}*"):
            shutil.rmtree(folder, ignore_errors=True)
    for entry in (*_SHM.glob(f"sem.{prefix}*"), *_SHM.glob(f"{prefix}*")):
        with contextlib.suppress(OSError):
            entry.unlink()
