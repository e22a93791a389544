"""What Linux says about processes: /proc, read without a library.

Does not know engines. Called by `process` and `supervise`; a process that ends while being read is simply not there.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_TELLS_CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children").exists()
"""Kernels without CONFIG_PROC_CHILDREN do not. Without children a working core would look as if it stood still."""


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One line of /proc/<pid>/stat, the part we use."""

    pid: int
    name: str
    state: str
    """R running, S sleeping, T stopped, Z dead but not collected …"""
    parent: int
    group: int
    cpu_s: float
    """Its own and that of its children which have ended: a compiler that is done must not look like time undone."""
    started_ticks: int
    """With the pid, names one process for good: pids are used again."""


def read_stat(pid: int) -> ProcessStat | None:
    """The process with this pid, or None."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    name_end = text.rfind(")")
    rest = text[name_end + 2 :].split()
    return ProcessStat(
        pid=pid,
        name=text[text.find("(") + 1 : name_end],
        state=rest[0],
        parent=int(rest[1]),
        group=int(rest[2]),
        cpu_s=sum(map(int, rest[11:15])) / _TICKS_PER_S,
        started_ticks=int(rest[19]),
    )


def find_descendants(pid: int) -> Iterator[int]:
    """Children, grandchildren and so on, alive now."""
    waiting = [pid]
    while waiting:
        for child in _children(waiting.pop()):
            yield child
            waiting.append(child)


def find_group(group: int) -> list[int]:
    """Living members of a process group; zombies that nobody collects do not count."""
    return [stat.pid for stat in map(read_stat, _all_pids()) if stat and stat.group == group and stat.state not in "ZX"]


def find_users(folder: Path) -> list[int]:
    """Processes that were started with a program below `folder`, or have a library from there in memory.

    Those of other users are left out: their memory may not be looked at.
    """
    names = {f"{folder}/".encode(), f"{os.path.realpath(folder)}/".encode()}
    return [pid for pid in sorted(_all_pids()) if _uses(pid, names)]


def _uses(pid: int, names: set[bytes]) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as command_line:
            if command_line.read().startswith(tuple(names)):
                return True
        with open(f"/proc/{pid}/maps", "rb") as maps:
            return any(name in line for line in maps for name in names)
    except OSError:
        return False


def cpu_seconds(pids: Iterator[int] | list[int]) -> float:
    """Processor time these processes have used since they started."""
    return sum(stat.cpu_s for pid in pids if (stat := read_stat(pid)))


def resident_bytes(pid: int) -> int:
    """Main memory the process holds (shared pages included)."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def count_oom_kills() -> int:
    """Kills for want of memory on this machine since boot; 0 where the kernel does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    if not _TELLS_CHILDREN:
        return [stat.pid for stat in map(read_stat, _all_pids()) if stat and stat.parent == pid]
    for thread in threads:
        try:
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text(encoding="ascii").split())
        except OSError:
            continue
    return found


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
