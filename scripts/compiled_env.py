"""Make an environment with the compiled gateway, and print the path of its Python.

    python scripts/compiled_env.py            # under build/, for the Python that runs this

The environment holds the wheel that `make wheel` builds, installed as users install it, and everything that the lock
file names, so tests and benchmarks can run in it. It is made once for each state of the sources. Without a C compiler
or Python's headers, CannotCompileError says what is missing.
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
"""An environment that nobody asked for during this time is in use by no test or benchmark."""


class CannotCompileError(Exception):
    """This machine lacks something that compiling needs."""


class BuildFailedError(Exception):
    """The build failed although the machine has everything it needs: a fault in the sources."""


def require_compiler() -> None:
    """Raise CannotCompileError when C cannot be compiled for this Python."""
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        raise CannotCompileError("there is no C compiler (hint: apt-get install gcc libc6-dev)")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        raise CannotCompileError(f"the headers of {sys.executable} are missing (hint: apt-get install python3-dev)")


def make_environment() -> Path:
    """The Python of the environment for the sources as they are now."""
    require_compiler()
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes may ask at the same time
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
    (folder / "complete").touch()  # its time says when somebody last asked
    return python


def _remove_unused() -> None:
    """Delete half-made environments, and those of other sources that nobody has asked for lately."""
    for folder in [path for path in KEPT.iterdir() if path.is_dir()]:
        complete = folder / "complete"
        if not complete.exists() or time.time() - complete.stat().st_mtime > UNUSED_S:
            shutil.rmtree(folder)


def build_wheel(uv: str, python: Path, out: Path) -> Path:
    """Build the compiled wheel with the packages in the environment of `python`."""
    command = [uv, "build", "--wheel", "--no-build-isolation", "--python", str(python), "-o", str(out)]
    env = {**os.environ, "REMUDA_COMPILE": "1", "VIRTUAL_ENV": str(python.parents[1])}
    env.pop("PYTHONPATH", None)  # mypy refuses sources that it can reach by two paths
    done = subprocess.run(command, check=False, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise BuildFailedError(f"the wheel could not be built:\n{done.stdout}{done.stderr}")
    (wheel,) = out.glob("*.whl")
    return wheel


def fingerprint() -> str:
    """A digest of the sources, of what they are built with, and of this Python."""
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
