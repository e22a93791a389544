"""An installed engine environment on disk: its name, its marker, whether it is whole.

One folder per vLLM version, variant, Python, architecture and lock file, so a new lock never touches an environment
that engines run from. The folder is complete when its marker exists: the marker is written last and the folder is
renamed into place. Does not build anything; `install` does. Called by install, inventory, plan and cli.
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
"""Begins the name of an environment that is not finished."""
_REMOVED = ".removed-"


@dataclass(frozen=True, slots=True)
class Installation:
    """One whole environment."""

    path: Path
    version: str
    variant: str
    python: Path
    """Its interpreter: what engines are started with."""
    python_version: str
    size_bytes: int
    """Disk it takes, hard links to uv's cache included."""

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def site_packages(self) -> Path:
        return site_packages(self.path, self.python_version)


def python_version() -> str:
    """The Python an environment is made with: this one where vLLM supports it, so nothing need be downloaded."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}" if sys.version_info[:2] in PYTHONS else PYTHON_FALLBACK


def site_packages(path: Path, version: str) -> Path:
    """Where packages of the environment at `path` are."""
    return path / "lib" / f"python{version}" / "site-packages"


def lock_text(version: str, variant: str) -> str | None:
    """The committed lock file of this version and variant; None when Remuda has none."""
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
    """State that the environment at `path` is complete, and what must be there for it to stay so."""
    found = python_version()
    content = {
        "version": version,
        "variant": variant,
        "python": found,
        "size_bytes": size_bytes,
        "entries": sorted(entry.name for entry in site_packages(path, found).iterdir()),
    }
    replace_file(path / MARKER, json.dumps(content).encode())


def read_installation(path: Path) -> Installation | None:
    """The environment at `path` if it is whole; None when it is missing, half-made or damaged.

    Cheap (one folder listing): the interpreter runs, and every package the marker names is still there.
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
    """Disk that a tree takes, each hard-linked file once.

    With `only_linked`, only of files that have another name elsewhere: deleting the tree does not free them.
    """
    total, seen = 0, set()
    for folder, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(FileNotFoundError):  # somebody deletes it while we look
                info = os.lstat(os.path.join(folder, name))
                if info.st_ino not in seen and (info.st_nlink > 1 or not only_linked):
                    seen.add(info.st_ino)
                    total += info.st_blocks * 512
    return total


def remove_tree(path: Path) -> None:
    """Delete an environment so that no moment shows it half-deleted under its own name. Of a link, only the link."""
    if not os.path.lexists(path):
        return
    doomed = path
    if owner_of(path) == path:
        doomed = path.with_name(f"{_REMOVED}{path.name}-{os.getpid()}")
        path.rename(doomed)
    _delete(doomed)


def remove_leftovers(path: Path, *prefixes: str) -> None:
    """Delete what interrupted removals (and whatever has `prefixes`) left of this environment: gigabytes, hidden."""
    for leftover in find_leftovers(path, *prefixes):
        _delete(leftover)


def find_leftovers(path: Path, *prefixes: str) -> list[Path]:
    """What interrupted removals (and whatever has `prefixes`) left of this environment, and of no other."""
    begins = tuple(f"{prefix}{path.name}-" for prefix in (_REMOVED, *prefixes))
    found = (entry for entry in path.parent.iterdir() if entry.name.startswith(begins))
    return [entry for entry in found if owner_of(entry) == path]


def _delete(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def find_abandoned(folder: Path) -> list[Path]:
    """What interrupted builds and removals left in the engines' folder; not what somebody works on now."""
    left = [entry for prefix in (PARTIAL, _REMOVED) for entry in folder.glob(f"{prefix}vllm-*") if entry.is_dir()]
    return [entry for entry in left if not is_locked(_lock_path(owner_of(entry)))]


def owner_of(path: Path) -> Path:
    """The environment that a half-made or half-deleted one belongs to; of a whole one, itself."""
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
