"""An installed engine environment on disk: its name, its marker, and whether it is complete.

Each combination of vLLM version, variant, Python, architecture and lock file has its own folder, so a new lock file
does not change an environment that engines run from. A folder is complete when it has its marker, which is written last
before the folder gets its name. This module builds nothing.
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from remuda.engine.errors import InstallError
from remuda.engine.install.variants import PYTHON_FALLBACK, PYTHONS
from remuda.machine.files import replace_file
from remuda.machine.home import Home
from remuda.machine.locks import hold_lock, is_locked

MARKER = "remuda-engine.json"
PARTIAL = ".building-"
"""The name of an unfinished environment begins with this."""
_REMOVED = ".removed-"


@dataclass(frozen=True, slots=True)
class Installation:
    """One complete environment."""

    path: Path
    version: str
    variant: str
    python: Path
    """Its interpreter, which engines are started with."""
    python_version: str
    size_bytes: int
    """Its size on disk, hard links to uv's cache included."""

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def site_packages(self) -> Path:
        return site_packages(self.path, self.python_version)


def python_version() -> str:
    """The Python for an environment: this one if vLLM supports it, so that none need be downloaded."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}" if sys.version_info[:2] in PYTHONS else PYTHON_FALLBACK


def site_packages(path: Path, version: str) -> Path:
    """The folder of the packages of the environment at `path`."""
    return path / "lib" / f"python{version}" / "site-packages"


def lock_text(version: str, variant: str) -> str | None:
    """The lock file of this version and variant; None when Remuda has none."""
    entry = resources.files("remuda.engine.install").joinpath("locks", f"{version}-{variant}.txt")
    return entry.read_text(encoding="utf-8") if entry.is_file() else None


def environment_path(home: Home, version: str, variant: str) -> Path | None:
    """Where this environment belongs; None when there is no lock file for it."""
    lock = lock_text(version, variant)
    if lock is None:
        return None
    digest = hashlib.sha256(lock.encode()).hexdigest()[:8]
    python = python_version().replace(".", "")
    return home.engines / f"vllm-{version}-{variant}-py{python}-{platform.machine()}-{digest}"


def write_marker(path: Path, version: str, variant: str, size_bytes: int) -> None:
    """Record that the environment at `path` is complete, and which packages it must hold."""
    found = python_version()
    content = {
        "version": version,
        "variant": variant,
        "python": found,
        "size_bytes": size_bytes,
        "entries": sorted(entry.name for entry in site_packages(path, found).iterdir()),
    }
    replace_file(path / MARKER, json.dumps(content).encode(), public=True)  # other users may run this engine


def read_installation(path: Path) -> Installation | None:
    """The environment at `path` if it is complete; None when it is missing, unfinished or damaged.

    The check lists one folder: the interpreter is executable, and every package that the marker names exists.
    """
    try:
        marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
        version, variant, python = str(marker["version"]), str(marker["variant"]), str(marker["python"])
        expected, size_bytes = set(marker["entries"]), int(marker["size_bytes"])
        present = set(os.listdir(site_packages(path, python)))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    interpreter = path / "bin" / "python"
    if not expected <= present or not os.access(interpreter, os.X_OK):
        return None
    return Installation(path, version, variant, interpreter, python, size_bytes)


def measure_bytes(path: Path, *, only_linked: bool = False) -> int:
    """The size of a tree on disk; a file with several hard links counts once.

    With `only_linked`, only files that have another name count: deleting the tree does not free them.
    """
    total, seen = 0, set()
    for folder, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(FileNotFoundError):  # it is deleted meanwhile
                info = os.lstat(os.path.join(folder, name))
                if info.st_ino not in seen and (info.st_nlink > 1 or not only_linked):
                    seen.add(info.st_ino)
                    total += info.st_blocks * 512
    return total


def remove_tree(path: Path) -> None:
    """Delete an environment; it first loses its name, so that no part of it is found under it. A link is removed."""
    if not os.path.lexists(path):
        return
    doomed = path
    if owner_of(path) == path:
        doomed = path.with_name(f"{_REMOVED}{path.name}-{os.getpid()}")
        path.rename(doomed)
    _delete(doomed)


def remove_leftovers(path: Path, *prefixes: str) -> None:
    """Delete what interrupted removals left of this environment, and folders with one of `prefixes`."""
    for leftover in find_leftovers(path, *prefixes):
        _delete(leftover)


def find_leftovers(path: Path, *prefixes: str) -> list[Path]:
    """Paths that interrupted removals of this environment left, and its folders that begin with one of `prefixes`."""
    begins = tuple(f"{prefix}{path.name}-" for prefix in (_REMOVED, *prefixes))
    found = (entry for entry in path.parent.iterdir() if entry.name.startswith(begins))
    return [entry for entry in found if owner_of(entry) == path]


def _delete(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def find_abandoned(folder: Path) -> list[Path]:
    """What interrupted builds and removals left in the engines' folder, without what is being built or removed."""
    left = [entry for prefix in (PARTIAL, _REMOVED) for entry in folder.glob(f"{prefix}vllm-*") if entry.is_dir()]
    return [entry for entry in left if not is_locked(_lock_path(owner_of(entry)))]


def owner_of(path: Path) -> Path:
    """The environment to which an unfinished or half-deleted folder belongs; otherwise the path itself."""
    for prefix in (PARTIAL, _REMOVED):
        if path.name.startswith(prefix):
            return path.with_name(path.name.removeprefix(prefix).rpartition("-")[0])
    return path


def _lock_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def lock_environment(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Be the only process of this machine that builds or deletes the environment at `path`.

    `on_wait` is called once when another process does so now; what it raises ends the wait.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(hold_lock(_lock_path(path), on_wait))
        except OSError as error:
            message = f"{_lock_path(path)} cannot be locked: {error.strerror}"
            raise InstallError(message, "check who owns the folder") from error
        yield
