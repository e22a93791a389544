"""Finds and runs uv, the installer that builds engine environments.

The module knows uv's messages, and makes one sentence of a failure. It does not know what is installed, or where.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from remuda.engine.errors import InstallError
from remuda.machine import parent_death, processes

_END_S: Final = 10.0
"""How long the kernel may take to end a killed uv, which may be writing gigabytes to disk."""

_FAILURES: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"No space left on device|os error 28|Disk quota exceeded", re.IGNORECASE),
        "the disk filled up while the engine was being installed",
        "free some space (see `df -h`), or put Remuda's files on another disk with REMUDA_HOME, then run it again",
    ),
    (
        re.compile(r"Permission denied|os error 13|Read-only file system|os error 30", re.IGNORECASE),
        "a folder the engine is installed to may not be written",
        "check who owns it, or choose another folder with REMUDA_HOME",
    ),
    (
        re.compile(r"hash mismatch|Hash mismatch"),
        "a downloaded file is not the one the lock file names",
        "a proxy or mirror may have changed it; `uv cache clean` and run it again, or use another mirror",
    ),
    (
        re.compile(
            r"dns error|failed to lookup|error sending request|Failed to fetch|Connection re|timed out|tcp connect"
        ),
        "the package index cannot be reached",
        (
            "check the network and the proxy settings; a mirror can be named with UV_DEFAULT_INDEX, "
            "a folder of wheels with REMUDA_WHEELS"
        ),
    ),
    (
        re.compile(r"No interpreter found|No download found for request|Python .* is not available"),
        "no Python that vLLM supports was found (3.11 to 3.14)",
        "install one of them, or let uv download it: `uv python install 3.12`",
    ),
    (
        re.compile(
            r"No solution found|no wheels? (with|are available)|has no usable wheels|was not found", re.IGNORECASE
        ),
        "a package of the engine is not available for this machine",
        "vLLM publishes wheels for x86-64 and arm64 Linux with glibc 2.28 or newer",
    ),
)


def find_uv(environ: Mapping[str, str] | None = None, beside: Path = Path(sys.executable).parent) -> Path:
    """Find uv: REMUDA_UV names it, or it was installed with Remuda as a dependency, or it is on PATH."""
    env = os.environ if environ is None else environ
    if named := env.get("REMUDA_UV"):
        if os.access(named, os.X_OK):
            return Path(named)
        raise InstallError(
            f"REMUDA_UV names {named}, which is not an executable file", "unset REMUDA_UV, or correct it"
        )
    if found := shutil.which("uv", path=f"{beside}:{env.get('PATH', '')}"):
        return Path(found)
    raise InstallError(
        "uv, the installer for the engine's environment, was not found", "`pip install uv`, or name it with REMUDA_UV"
    )


def run_uv(uv: Path, arguments: Sequence[str], on_line: Callable[[str], None], env: Mapping[str, str]) -> None:
    """Run uv and give each line it prints to `on_line`; InstallError says why it failed.

    uv does not outlive this process: an exception ends its process group, and the kernel ends it at our death.
    """
    if not os.access(uv, os.X_OK):
        raise InstallError(f"{uv} could not be started: it is not an executable file", "reinstall uv")
    lines: list[str] = []
    process = _start(uv, arguments, env)
    with process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip())
                on_line(lines[-1])
        except BaseException:  # also KeyboardInterrupt
            _end_group(process.pid)
            raise
    if process.returncode != 0:
        raise explain_failure(lines, process.returncode)


def _start(uv: Path, arguments: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            [sys.executable, "-IS", parent_death.__file__, str(uv), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**env, parent_death.PARENT_VARIABLE: str(os.getpid())},
            text=True,
            errors="replace",
            process_group=0,
        )
    except OSError as error:
        raise InstallError(f"{uv} could not be started: {error.strerror}", "reinstall uv") from error


def _end_group(group: int) -> None:
    """End uv and the processes in which it compiles, before the files that they write are deleted."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    deadline_at = time.monotonic() + _END_S
    while processes.find_group(group) and time.monotonic() < deadline_at:
        time.sleep(0.01)


def explain_failure(lines: Sequence[str], status: int) -> InstallError:
    """The failure in one sentence, from what uv printed."""
    text = "\n".join(lines)
    said = _find_cause(lines)
    for pattern, message, hint in _FAILURES:
        if pattern.search(text):
            return InstallError(f"{message} ({said})" if said else message, hint)
    return InstallError(
        f"the installer failed with status {status}: {said}", "run it again; `uv cache clean` if it stays"
    )


def _find_cause(lines: Sequence[str]) -> str:
    """The deepest cause in uv's chain of errors, without the characters that draw the chain as a tree."""
    useful = [line.strip(" │├╰─▶×\t") for line in lines]
    useful = [
        line for line in useful if line and not line.startswith(("Downloading", "Downloaded", "Prepared", "Using"))
    ]
    causes = [line for line in useful if line.startswith(("Caused by", "error:")) or "os error" in line]
    return (causes or useful or [""])[-1].removeprefix("error: ").removeprefix("Caused by: ")[:300]


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The user's environment, without variables that would point uv to the project in which Remuda itself runs."""
    dropped = {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX"}
    return {name: value for name, value in environ.items() if name not in dropped}
