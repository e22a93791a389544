"""Installs an environment for a version of vLLM, once per machine.

    find_installation     the complete environment for a version and variant, or None
    install_engine        find it, or build it in a temporary folder that is renamed; one process builds at a time

The calls block; use `worker` from an event loop. The module does not know models, processes or what else is installed.
"""

import os
import shutil
from pathlib import Path

from remuda.engine.errors import InstallError
from remuda.engine.install.build import Recipe, build_environment, check_disk, check_imports
from remuda.engine.install.installation import (
    PARTIAL,
    Installation,
    environment_path,
    lock_environment,
    lock_text,
    measure_bytes,
    read_installation,
    remove_leftovers,
    remove_tree,
    write_marker,
)
from remuda.engine.install.uv import find_uv
from remuda.engine.install.variants import (
    DEFAULT_VERSION,
    Variant,
    check_cpu,
    choose_variant,
    matching_variants,
    parse_variant,
)
from remuda.engine.status import Progress, ProgressCallback
from remuda.machine.home import Home
from remuda.vllm.dialect import DIALECTS


def find_installation(home: Home, version: str = DEFAULT_VERSION, variant: str | None = None) -> Installation | None:
    """The best complete environment for this version that suits `variant` (see variants.matching_variants)."""
    for name in matching_variants(variant):
        path = environment_path(home, version, name)
        found = read_installation(path) if path else None
        if found is not None:
            return found
    return None


def install_engine(
    home: Home,
    version: str = DEFAULT_VERSION,
    variant: str | None = None,
    progress: ProgressCallback = lambda _: None,
    *,
    repair: bool = False,
) -> Installation:
    """The environment for this version, which is built if it is missing.

    With `repair`, vLLM is imported from an existing environment, which is built again if that fails.
    """
    found = find_installation(home, version, variant)
    if found is not None and not (repair and _is_broken(found, progress)):
        return found
    chosen = parse_variant(found.variant) if found else choose_variant(variant)
    path = _checked_path(home, version, chosen)
    with lock_environment(path, lambda: progress(Progress("waiting", "another Remuda is installing this engine"))):
        other = read_installation(path)
        if other is not None and (found is None or not _is_broken(other, progress)):
            return other  # another process built it meanwhile
        return _build(path, version, chosen, progress)


def _checked_path(home: Home, version: str, variant: Variant) -> Path:
    """Where to build; whatever can be refused before a download is refused here."""
    if lock_text(version, variant.name) is None:
        known = ", ".join(DIALECTS)
        raise InstallError(f"Remuda has no lock file for vLLM {version} ({variant.name})", f"known versions: {known}")
    if variant.device == "cpu":
        check_cpu()
    path = environment_path(home, version, variant.name)
    assert path is not None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InstallError(
            f"{path.parent} cannot be created: {error.strerror}", "choose another folder with REMUDA_HOME"
        ) from error
    check_disk(path, variant)
    return path


def _build(path: Path, version: str, variant: Variant, progress: ProgressCallback) -> Installation:
    """Build in another folder, write the marker, rename. What an interrupted build left is removed first."""
    remove_leftovers(path, PARTIAL)
    partial = path.with_name(f"{PARTIAL}{path.name}-{os.getpid()}")
    try:
        build_environment(partial, Recipe(find_uv(), version, variant), progress)
        write_marker(partial, version, variant.name, measure_bytes(partial))
        remove_tree(path)
        partial.rename(path)
    except OSError as error:
        raise InstallError(
            f"{error.filename or path}: {error.strerror}", "check the disk and who owns the folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    built = read_installation(path)
    if built is None:
        raise InstallError(f"{path} was built but is not complete", "another program changes that folder; run it again")
    progress(Progress("installed", built.id))
    return built


def _is_broken(found: Installation, progress: ProgressCallback) -> bool:
    progress(Progress("checking", f"importing vLLM from {found.id}"))
    try:
        check_imports(found.python)
    except InstallError:
        return True
    return False
