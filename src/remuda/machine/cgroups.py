"""Control groups (cgroup v2) of this machine: one for each process tree that must be counted and ended as a whole.

A group names a kill for lack of memory (`memory.events`) and ends every process of a tree (`cgroup.kill`), also one
that has left its process group. It can be had where this process may write to its own group: as root, or in a group
that systemd has delegated (`systemd-run --user --scope -p Delegate=yes …`). Elsewhere `find_parent` returns None, and
callers go on without groups. cgroup v1 is not used.
"""

import contextlib
import errno
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from remuda.machine.processes import PROC, ProcessId, fetch_process_id, find_descendants, is_alive

_PREFIX = "remuda."
_OWN_LEAF = "remuda-supervisor"
_MOVE_ROUNDS = 2  # the second one finds what was started during the first


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """One group. It does nothing, and reports nothing, once it is removed."""

    path: Path

    def add_tree(self, pid: int) -> bool:
        """Move a process and its descendants into the group; what they start later is in it from the beginning.

        False when the kernel refuses it.
        """
        moved: set[int] = set()
        for _ in range(_MOVE_ROUNDS):
            missing = {pid, *find_descendants(pid)} - moved
            for member in missing:
                with contextlib.suppress(OSError):  # it has ended
                    (self.path / "cgroup.procs").write_text(str(member), encoding="ascii")
            moved |= missing
        return pid in self.list_pids()

    def list_pids(self) -> list[int]:
        """The processes in the group, without zombies and without those of other pid namespaces."""
        return [pid for pid in self._read_pids() if pid]

    def has_foreign_processes(self) -> bool:
        """Whether a process of another pid namespace is in the group: the kernel lists it as 0."""
        return 0 in self._read_pids()

    def _read_pids(self) -> list[int]:
        return [int(line) for line in _read(self.path / "cgroup.procs").split()]

    def kill(self) -> None:
        """End every process in the group."""
        try:
            (self.path / "cgroup.kill").write_text("1", encoding="ascii")
        except OSError:  # Linux before 5.14 has no such file
            for pid in self.list_pids():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def count_oom_kills(self) -> int | None:
        """Processes of the group that were killed for lack of memory; None when the kernel does not count them here."""
        try:
            lines = (self.path / "memory.events").read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)

    def remove(self) -> bool:
        """Remove the group. False while a process is still in it, which may be a moment after the process has ended."""
        with contextlib.suppress(OSError):
            self.path.rmdir()
        return not self.path.exists()


class GroupParent:
    """The group in which new groups are made. A group's name says which process made it."""

    def __init__(self, path: Path, owner: ProcessId) -> None:
        self._path = path
        self._owner = owner

    def create(self, name: str) -> ControlGroup | None:
        """A new, empty group; None when the kernel refuses it."""
        group = ControlGroup(self._path / f"{_PREFIX}{self._owner.pid}.{self._owner.start_ticks}.{name}")
        try:
            group.path.mkdir()
        except OSError:
            return None
        return group

    def remove_leftovers(self) -> None:
        """Kill the processes in control groups whose owner has died, and remove these groups."""
        with contextlib.suppress(OSError):
            for path in self._path.glob(f"{_PREFIX}*.*.*"):
                owner, group = _parse_owner(path.name), ControlGroup(path)
                if owner is not None and not is_alive(owner) and not group.has_foreign_processes():
                    group.kill()
                    group.remove()


def find_parent() -> GroupParent | None:
    """The group of this process, if groups may be made in it; the memory controller is switched on if it can be."""
    own = locate_own_group(_read(PROC / "self" / "mountinfo"), _read(PROC / "self" / "cgroup"))
    me = fetch_process_id(os.getpid())
    if own is None or me is None or not (os.access(own, os.W_OK) and os.access(own / "cgroup.procs", os.W_OK)):
        return None
    _enable_memory(own)
    parent = GroupParent(own, me)
    parent.remove_leftovers()
    return parent


def locate_own_group(mountinfo: str, cgroup: str) -> Path | None:
    """The folder of this process's group, from the texts of /proc/self/mountinfo and /proc/self/cgroup."""
    place = next((line.removeprefix("0::") for line in cgroup.splitlines() if line.startswith("0::")), None)
    for line in mountinfo.splitlines():
        fields, _, kind = line.partition(" - ")
        if place is None or kind.split(" ", 1)[0] != "cgroup2":
            continue
        root, mount_point = fields.split()[3:5]
        if os.path.commonpath([root, place]) == root and ".." not in place:
            return Path(mount_point) / os.path.relpath(place, root)
    return None


def read_core_limit() -> float | None:
    """CPU time that the groups of this process grant it, in cores; None when there is no limit. Also of cgroup v1."""
    mountinfo, cgroup = _read(PROC / "self" / "mountinfo"), _read(PROC / "self" / "cgroup")
    own = locate_own_group(mountinfo, cgroup)
    limits = [] if own is None else [parse_cpu_max(_read(folder / "cpu.max")) for folder in (own, *own.parents)]
    limits += [
        parse_cpu_max(f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}")
        for folder in _locate_v1_cpu(mountinfo, cgroup)
    ]
    return min((limit for limit in limits if limit is not None), default=None)


def parse_cpu_max(text: str) -> float | None:
    """The limit of a `cpu.max` file, in cores: "200000 100000" is two. "max …" and "-1 …" are none."""
    quota, _, period = text.partition(" ")
    if not (quota.strip().isdecimal() and period.strip().isdecimal() and int(period)):
        return None
    return int(quota) / int(period)


def _locate_v1_cpu(mountinfo: str, cgroup: str) -> Iterator[Path]:
    """The folders of this process's group, and of those above it, in the hierarchy of cgroup v1 that has `cpu`."""
    for line in cgroup.splitlines():
        _, controllers, place = line.split(":", 2)
        if "cpu" in controllers.split(","):
            for mounted in mountinfo.splitlines():
                fields, _, kind = mounted.partition(" - ")
                if kind.startswith("cgroup ") and "cpu" in kind.split(" ")[-1].split(","):
                    own = Path(fields.split()[4]) / place.lstrip("/")
                    yield from (own, *own.parents)


def _enable_memory(own: Path) -> None:
    """Have the kernel count memory in the groups below `own`.

    The kernel refuses that while a process is in `own` itself. If that is only this process, it moves into a group of
    its own; other processes are not moved.
    """
    if "memory" not in _read(own / "cgroup.controllers").split():
        return
    try:
        _switch_memory_on(own)
    except OSError as error:
        if error.errno != errno.EBUSY or ControlGroup(own).list_pids() != [os.getpid()]:
            return
        leaf = own / _OWN_LEAF
        with contextlib.suppress(OSError):
            leaf.mkdir(exist_ok=True)
            (leaf / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
            _switch_memory_on(own)


def _switch_memory_on(own: Path) -> None:
    (own / "cgroup.subtree_control").write_text("+memory", encoding="ascii")


def _parse_owner(name: str) -> ProcessId | None:
    _, pid, ticks, *_ = name.split(".")
    return ProcessId(int(pid), int(ticks)) if pid.isdecimal() and ticks.isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
