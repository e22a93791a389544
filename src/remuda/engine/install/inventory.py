"""Lists the environments on this machine and removes those that are no longer needed.

    list_environments     every environment with its state and size
    describe_unused       how much disk environments take that this Remuda does not use, in one line
    remove_environment    delete one from which nothing runs

An environment is *current* when engines of this Remuda may use it: its folder has the name for the present lock file,
Python and architecture (see installation). Every other one is *superseded*: an older Remuda or another Python made it.
A *broken* one is unfinished or damaged.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from remuda.engine.errors import InstallError
from remuda.engine.install.installation import (
    PARTIAL,
    Installation,
    environment_path,
    find_abandoned,
    find_leftovers,
    lock_environment,
    measure_bytes,
    owner_of,
    read_installation,
    remove_leftovers,
    remove_tree,
)
from remuda.engine.install.variants import VARIANTS
from remuda.machine import processes
from remuda.machine.home import Home
from remuda.vllm.dialect import DIALECTS


@dataclass(frozen=True, slots=True)
class Environment:
    """One folder in the engines' folder."""

    path: Path
    installation: Installation | None
    """None when it is unfinished or damaged."""
    is_current: bool
    size_bytes: int

    @property
    def name(self) -> str:
        """Its name on the command line."""
        return self.path.name

    @property
    def state(self) -> str:
        """One word: broken, current or superseded."""
        if self.installation is None:
            return "broken"
        return "current" if self.is_current else "superseded"


def list_environments(home: Home) -> tuple[Environment, ...]:
    """Every environment under `home`, by name; then what interrupted installations left in hidden folders."""
    try:
        folders = sorted(entry for entry in home.engines.iterdir() if entry.is_dir() and entry.name.startswith("vllm-"))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise InstallError(
            f"{home.engines} cannot be read: {error.strerror}", "choose another folder with REMUDA_HOME"
        ) from error
    current = {environment_path(home, version, variant) for version in DIALECTS for variant in VARIANTS}
    abandoned = sorted(find_abandoned(home.engines))
    return tuple(_describe(folder, is_current=folder in current) for folder in (*folders, *abandoned))


def _describe(folder: Path, *, is_current: bool) -> Environment:
    found = read_installation(folder)
    return Environment(folder, found, is_current, found.size_bytes if found else measure_bytes(folder))


def describe_unused(found: Iterable[Environment]) -> str:
    """How much disk unused environments take, and how to remove them; "" when there are none."""
    sizes = [environment.size_bytes for environment in found if not environment.is_current]
    if not sizes:
        return ""
    gigabytes = f"{sum(sizes) / 1e9:.1f} GB"
    if len(sizes) == 1:
        return f"1 engine that is no longer used takes {gigabytes}; `remuda engine remove --superseded` deletes it"
    return f"{len(sizes)} engines no longer used take {gigabytes}; `remuda engine remove --superseded` deletes them"


def select_environments(found: Sequence[Environment], names: Sequence[str]) -> list[Environment]:
    """The environments with these names; all of them for `all`; those this Remuda does not use for no name."""
    if not names:
        return [environment for environment in found if not environment.is_current]
    if tuple(names) == ("all",):
        return list(found)
    by_name = {environment.name: environment for environment in found}
    for name in names:
        if name not in by_name:
            known = ", ".join(by_name) or "none is installed"
            raise InstallError(f"there is no engine environment {name!r}", f"installed: {known}")
    return [by_name[name] for name in dict.fromkeys(names)]


def check_unused(environment: Environment) -> None:
    """Refuse an environment in use: without its files, an engine would fail at its next import."""
    if users := processes.find_users(environment.path):
        more = f" and {len(users) - 1} more" if len(users) > 1 else ""
        raise InstallError(
            f"{environment.name} is in use by process {users[0]}{more}", "`remuda down` stops the fleet; then remove it"
        )


def remove_environment(environment: Environment) -> None:
    """Delete it; InstallError when it is in use, being installed or removed, or cannot be deleted completely."""
    path = environment.path

    def refuse() -> None:
        raise InstallError(f"{path.name} is being installed or removed right now", "wait until that is done, or end it")

    with lock_environment(owner_of(path), refuse):
        check_unused(environment)
        try:
            remove_tree(path)
            remove_leftovers(path, PARTIAL)
            left = [entry for entry in (path, *find_leftovers(path, PARTIAL)) if os.path.lexists(entry)]
        except OSError as error:
            raise InstallError(f"{path} cannot be deleted: {error.strerror}", "check who owns it") from error
        if left:
            raise InstallError(f"{left[0]} could not be deleted completely", "check who owns what is in it")
