"""An environment with the compiled gateway in it; prints its Python. Made once per version of the sources.

    python scripts/compiled_env.py            # under build/, for the Python that runs this

The wheel that `make wheel` builds, installed as users install it, beside everything the lock file names, so that tests
and benchmarks run on it. Needs a C compiler and Python's headers, and says so. Called by benchmarks and by a test.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "build" / "compiled-env"
UNUSED_S = 3600.0
"""Longer than any test or benchmark takes."""


class CannotCompileError(Exception):
    """What is missing on this machine."""


class BuildFailedError(Exception):
    """Everything is here, and still it did not work: a bug."""


def require_compiler() -> None:
    """Raise CannotCompileError when C cannot be compiled for this Python."""
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        raise CannotCompileError("there is no C compiler (hint: apt-get install gcc libc6-dev)")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        raise CannotCompileError(f"the headers of {sys.executable} are missing (hint: apt-get install python3-dev)")


def make_environment() -> Path:
    """The environment's Python."""
    require_compiler()
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests and benchmarks may want it at the same time
        return _make_environment(KEPT / fingerprint())


def _make_environment(folder: Path) -> Path:
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        _remove_unused()
        uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
        env = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder)}
        env.pop("VIRTUAL_ENV", None)
        sync = [uv, "sync", "--quiet", "--frozen", "--no-install-project", "--python", sys.executable]
        subprocess.run(sync, check=True, cwd=ROOT, env=env)
        wheel = build_wheel(uv, python, KEPT / "dist")
        install = [uv, "pip", "install", "--quiet", "--no-deps", "--python", str(python), str(wheel)]
        subprocess.run(install, check=True, cwd=ROOT, env=env)
    (folder / "complete").touch()  # when it was last asked for
    return python


def _remove_unused() -> None:
    """What half a build left, and environments of other sources on which nothing can be running any more."""
    for folder in [path for path in KEPT.iterdir() if path.is_dir()]:
        complete = folder / "complete"
        if not complete.exists() or time.time() - complete.stat().st_mtime > UNUSED_S:
            shutil.rmtree(folder)


def build_wheel(uv: str, python: Path, out: Path) -> Path:
    """The compiled wheel, built with what the environment of `python` has."""
    command = [uv, "build", "--wheel", "--no-build-isolation", "--python", str(python), "-o", str(out)]
    env = {**os.environ, "REMUDA_COMPILE": "1", "VIRTUAL_ENV": str(python.parents[1])}
    env.pop("PYTHONPATH", None)  # a second way to the sources is one too many for mypy
    done = subprocess.run(command, check=False, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise BuildFailedError(f"the wheel could not be built:\n{done.stdout}{done.stderr}")
    (wheel,) = out.glob("*.whl")
    return wheel


def fingerprint() -> str:
    """Changes with the sources, what they are built with, and this Python."""
    digest = hashlib.sha256(f"{sys.version} {sys.executable}".encode())
    for file in _inputs():
        digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _inputs() -> Iterator[Path]:
    yield from (ROOT / name for name in ("hatch_build.py", "pyproject.toml", "uv.lock"))
    yield from (
        path for path in sorted((ROOT / "src" / "remuda").rglob("*")) if path.is_file() and path.suffix != ".pyc"
    )


def main() -> int:
    try:
        print(make_environment())
    except (CannotCompileError, BuildFailedError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
