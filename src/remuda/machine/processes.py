"""Processes of this machine, read from /proc without a library.

A pid alone does not identify a process, because the kernel reuses pids: a `ProcessId` is the pid with the start time.
A process that ends while it is read counts as absent. The module does not know what the processes are for.
"""

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_LISTS_CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children").exists()
"""Whether the kernel has CONFIG_PROC_CHILDREN. Without the list, all processes are searched by their parent."""


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """The fields of /proc/<pid>/stat that Remuda uses."""

    pid: int
    name: str
    state: str
    """R running, S sleeping, T stopped, Z zombie, X dead (proc(5) lists all)."""
    parent: int
    group: int
    cpu_s: float
    """CPU time of the process and of its children that have ended, so that a finished compiler still counts."""
    own_cpu_s: float
    """CPU time of the process alone."""
    started_ticks: int
    """Start time in clock ticks since boot."""
    virtual_bytes: int
    resident_bytes: int
    """Main memory that it holds, shared pages included."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be confused with a later one of the same pid."""

    pid: int
    start_ticks: int


def read_stat(pid: int) -> ProcessStat | None:
    """The process with this pid, or None."""
    try:
        return parse_stat((PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def parse_stat(text: str) -> ProcessStat:
    """The fields of a stat file. The name, in brackets, may contain any character; the other fields follow it."""
    name_end = text.rfind(")")
    rest = text[name_end + 2 :].split()
    ticks = [int(field) for field in rest[11:15]]  # utime, stime, and both of the children that have ended
    return ProcessStat(
        pid=int(text[: text.find(" ")]),
        name=text[text.find("(") + 1 : name_end],
        state=rest[0],
        parent=int(rest[1]),
        group=int(rest[2]),
        cpu_s=sum(ticks) / TICKS_PER_S,
        own_cpu_s=sum(ticks[:2]) / TICKS_PER_S,
        started_ticks=int(rest[19]),
        virtual_bytes=int(rest[20]),
        resident_bytes=int(rest[21]) * _PAGE_BYTES,
    )


def fetch_process_id(pid: int) -> ProcessId | None:
    """The identity of the process that has `pid` now; None when there is none or only its zombie is left."""
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


def list_pids() -> list[int]:
    """All processes of this machine (or of this pid namespace)."""
    return [int(entry) for entry in os.listdir(PROC) if entry.isdigit()]


def find_descendants(pid: int) -> Iterator[int]:
    """Children, grandchildren and so on that live now."""
    waiting = [pid]
    while waiting:
        for child in _list_children(waiting.pop()):
            yield child
            waiting.append(child)


def find_group(group: int) -> list[int]:
    """Living members of a process group; zombies do not count."""
    stats = map(read_stat, list_pids())
    return [stat.pid for stat in stats if stat and stat.group == group and stat.state not in "ZX"]


def find_users(folder: Path) -> list[int]:
    """Processes whose program lies below `folder`, or that have a file from there mapped into memory.

    Processes of other users are left out, because their memory may not be read.
    """
    names = {f"{folder}/".encode(), f"{os.path.realpath(folder)}/".encode()}
    return [pid for pid in sorted(list_pids()) if _uses(pid, names)]


def _uses(pid: int, names: set[bytes]) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as command_line:
            if command_line.read().startswith(tuple(names)):
                return True
        with open(f"/proc/{pid}/maps", "rb") as maps:
            return any(name in line for line in maps for name in names)
    except OSError:
        return False


def measure_cpu_s(pids: Iterable[int]) -> float:
    """CPU time that these processes have used since they started."""
    return sum(stat.cpu_s for pid in pids if (stat := read_stat(pid)))


def count_oom_kills() -> int:
    """Processes that the kernel has killed for lack of memory since boot; 0 where the kernel does not count them."""
    try:
        lines = (PROC / "vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def stop_group(process: ProcessId) -> None:
    """Kill the process group that `process` leads, or the process alone when it leads none.

    Nothing happens when the pid belongs to another process by now.
    """
    if not is_alive(process):
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)


def name_signal(number: int) -> str:
    """The name of a signal, for example SIGKILL; real-time signals have only a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _list_children(pid: int) -> list[int]:
    if not _LISTS_CHILDREN:
        return [stat.pid for stat in map(read_stat, list_pids()) if stat and stat.parent == pid]
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(PROC / str(pid) / "task"):
            with contextlib.suppress(OSError):
                children = PROC / str(pid) / "task" / thread / "children"
                found += map(int, children.read_text(encoding="ascii").split())
    return found
