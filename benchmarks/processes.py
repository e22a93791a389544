"""A server under test: one process tree on one core, and what it costs.

Starts it in a process group of its own, pinned before its first instruction (so every thread and helper process
inherits the core), reads its CPU time and memory, ends exactly that group. Does not know what the server is. Called by
`bench`.

CPU time comes from a cgroup v1 cpuacct group when one can be made (nanoseconds, counts threads and children that
already ended), else from /proc/PID/task/TID/schedstat of every thread (the same clock, but a thread that ended takes
its time with it).
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
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
    """Kept open: a server that is told things over a socket ends when it closes."""

    def pids(self) -> list[int]:
        """Every process of the server: it leads a session of its own."""
        return list(_session_pids(self.process.pid))

    def cpu_s(self) -> float:
        """CPU time used so far by all of its processes, user and system."""
        if self.cgroup is not None:
            return int((self.cgroup / "cpuacct.usage").read_text()) / 1e9
        return sum(_schedstat_s(pid) for pid in self.pids())

    def rss_mib(self) -> float:
        """Resident memory, summed over its processes (shared pages count in each)."""
        return sum(_rss_mib(pid) for pid in self.pids())

    def check_alive(self) -> None:
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise BenchError(f"{self.name} ended with exit code {self.process.returncode}; the end of its log:\n{tail}")


@dataclass(frozen=True, slots=True)
class Command:
    """How a server is started."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    control: bytes = b""
    """Written into a socket that the server inherits; {fd} in `argv` becomes its number."""


def start_server(name: str, command: Command, core: int, folder: Path) -> Server:
    """Start it on `core`. Its output goes to a log file in `folder`."""
    cgroup = _make_cgroup(name)
    log = folder / f"{name}.out"
    ours, theirs = socket.socketpair() if command.control else (None, None)

    def enter() -> None:
        os.sched_setaffinity(0, {core})
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
            preexec_fn=enter,  # noqa: PLW1509 - this program has one thread
        )
    if ours and theirs:
        theirs.close()
        ours.sendall(command.control)
    return Server(name, process, log, cgroup, ours)


def wait_ready(server: Server, is_ready: Callable[[], bool], timeout_s: float) -> float:
    """Poll until `is_ready`; the seconds it took."""
    started_s = time.monotonic()
    while not is_ready():
        server.check_alive()
        if time.monotonic() - started_s > timeout_s:
            raise BenchError(
                f"{server.name} was not ready after {timeout_s:.0f} s; its log: {server.log.read_text()[-2000:]}"
            )
        time.sleep(READY_POLL_S)
    return time.monotonic() - started_s


def stop_server(server: Server) -> None:
    """SIGTERM to its group, SIGKILL after a while, then nothing of it is left."""
    if server.control is not None:
        server.control.close()
    _signal_group(server, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.wait(STOP_S)
    _signal_group(server, signal.SIGKILL)
    server.process.wait(STOP_S)
    deadline_s = time.monotonic() + STOP_S
    while server.pids() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    if server.cgroup is not None:
        with contextlib.suppress(OSError):
            server.cgroup.rmdir()


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server, stopped on the way out."""
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


def _session_pids(session: int) -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (Path(entry.path) / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] not in "ZX":
                    yield int(entry.name)


def _schedstat_s(pid: int) -> float:
    total_ns = 0
    with contextlib.suppress(OSError):
        for task in os.scandir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                total_ns += int((Path(task.path) / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def _rss_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
