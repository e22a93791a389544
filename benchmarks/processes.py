"""A server under test: a process and its descendants, on given cores, and what they cost.

Starts it in a session of its own, pinned before its first instruction (so every thread and child process inherits the
cores), reads its CPU time and memory, and ends exactly these processes. It does not know what the server is.

CPU time comes from a cgroup v1 cpuacct group when one can be made (nanoseconds; it counts threads and children that
have ended). Otherwise it comes from /proc/PID/task/TID/schedstat of every thread: the same clock, but the time of a
thread disappears when the thread ends.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CPUACCT = Path("/sys/fs/cgroup/cpuacct")
STOP_S = 10.0
READY_POLL_S = 0.002


class BenchError(Exception):
    """The benchmark cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path
    cgroup: Path | None
    control: socket.socket | None = None
    """Stays open until the server is stopped: a server that gets its orders over a socket ends when it closes."""

    def pids(self) -> list[int]:
        """The server's process, those in its session, and all their descendants."""
        return _family_pids(self.process.pid)

    def cpu_s(self) -> float:
        """CPU time that all of its processes have used so far, user and system."""
        if self.cgroup is not None:
            return int((self.cgroup / "cpuacct.usage").read_text()) / 1e9
        return sum(_schedstat_s(pid) for pid in self.pids())

    def user_s(self) -> float:
        """The part of `cpu_s` in user space; the kernel samples it 100 to 1,000 times a second."""
        if self.cgroup is not None:
            return int((self.cgroup / "cpuacct.usage_user").read_text()) / 1e9
        return sum(_user_s(pid) for pid in self.pids())

    def rss_mib(self) -> float:
        """Resident memory, the sum over its processes (shared pages count in each of them)."""
        return sum(_rss_mib(pid) for pid in self.pids())

    def check_alive(self) -> None:
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise BenchError(f"{self.name} ended with exit code {self.process.returncode}; the end of its log:\n{tail}")


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a server."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    control: bytes = b""
    """Written into a socket that the server inherits; {fd} in `argv` becomes its number."""


def start_server(name: str, command: Command, cores: Collection[int], folder: Path) -> Server:
    """Start it on `cores`. Its output goes to a log file in `folder`."""
    cgroup = _make_cgroup(name)
    log = folder / f"{name}.out"
    ours, theirs = socket.socketpair() if command.control else (None, None)

    def enter() -> None:
        os.sched_setaffinity(0, cores)
        if cgroup is not None:
            (cgroup / "cgroup.procs").write_text("0")

    with log.open("wb") as output:
        process = subprocess.Popen(
            [part.replace("{fd}", str(theirs.fileno())) if theirs else part for part in command.argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **command.env},
            pass_fds=[theirs.fileno()] if theirs else [],
            start_new_session=True,
            preexec_fn=enter,  # noqa: PLW1509 - no other thread runs now
        )
    if ours and theirs:
        theirs.close()
        ours.sendall(command.control)
    return Server(name, process, log, cgroup, ours)


def wait_ready(server: Server, is_ready: Callable[[], bool], timeout_s: float) -> float:
    """Poll until `is_ready`. Returns the seconds that took."""
    started_at = time.monotonic()
    while not is_ready():
        server.check_alive()
        if time.monotonic() - started_at > timeout_s:
            raise BenchError(
                f"{server.name} was not ready after {timeout_s:.0f} s; its log: {server.log.read_text()[-2000:]}"
            )
        time.sleep(READY_POLL_S)
    return time.monotonic() - started_at


def stop_server(server: Server) -> None:
    """Send SIGTERM to its process group, SIGKILL to whatever is left after a while, and wait until nothing is left."""
    family = server.pids()
    if server.control is not None:
        server.control.close()
    _signal_group(server, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.wait(STOP_S)
    _signal_group(server, signal.SIGKILL)
    server.process.wait(STOP_S)
    deadline_at = time.monotonic() + STOP_S
    while _any_left(server, family) and time.monotonic() < deadline_at:
        time.sleep(0.01)
    if server.cgroup is not None:
        with contextlib.suppress(OSError):
            server.cgroup.rmdir()


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server; it is stopped at the end of the block."""
    try:
        yield server
    finally:
        stop_server(server)


def _signal_group(server: Server, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.process.pid, number)


def _make_cgroup(name: str) -> Path | None:
    group = CPUACCT / f"bench-{os.getpid()}-{name}"
    try:
        group.mkdir()
    except OSError:
        return None
    return group


def _family_pids(leader: int) -> list[int]:
    parents: dict[int, tuple[int, int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (stat := _read_stat(int(entry.name))):
            parents[int(entry.name)] = stat
    found = {pid for pid, (_, session) in parents.items() if leader in {pid, session}}
    more = found
    while more:
        more = {pid for pid, (parent, _) in parents.items() if parent in more} - found
        found |= more
    return sorted(found)


def _any_left(server: Server, family: Collection[int]) -> bool:
    """Descendants in sessions of their own have another parent once the server itself has ended."""
    return bool(server.pids()) or any(_read_stat(pid) for pid in family)


def _read_stat(pid: int) -> tuple[int, int] | None:
    """(parent, session) of a process that runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (int(fields[1]), int(fields[3]))


def _schedstat_s(pid: int) -> float:
    total_ns = 0
    with contextlib.suppress(OSError):
        for task in os.scandir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                total_ns += int((Path(task.path) / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def _user_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
