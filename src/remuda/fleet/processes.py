"""Which process is which: a pid alone lies after reuse, so a process is its pid and its start time (/proc, Linux).

Called by `record`, `claim` and `ports`.
"""

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from remuda.engine.proc import read_stat

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be confused with a later one of the same pid."""

    pid: int
    start_ticks: int


def fetch_process_id(pid: int) -> ProcessId | None:
    """The process that has `pid` now; None when there is none, or only its zombie."""
    stat = read_stat(pid)
    return None if stat is None or stat.state in {"Z", "X"} else ProcessId(pid, stat.started_ticks)


def is_alive(process: ProcessId) -> bool:
    """Whether this very process still runs."""
    return fetch_process_id(process.pid) == process


def fetch_command_line(pid: int) -> str:
    """The command line of `pid`, or "" when it may not be read."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode(errors="replace").strip()


def stop_group(process: ProcessId) -> None:
    """Kill the process group that `process` leads, if it is still the same process."""
    if not is_alive(process):
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
