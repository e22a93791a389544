"""TCP ports of this machine: reserve one, find a free one, and see which process listens on one.

A reservation is a socket that is bound with SO_REUSEADDR and never listens. The kernel then gives the port to nobody
else, while a server that sets SO_REUSEADDR itself (as vLLM does) can still bind it, now and after each restart.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from remuda.machine.errors import MachineError
from remuda.machine.processes import PROC, fetch_command_line, list_pids

LOOPBACK = "127.0.0.1"
_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Reservation:
    """A loopback port that nobody else is given until it is released."""

    port: int
    holder: socket.socket

    def release(self) -> None:
        """Give the port back."""
        self.holder.close()


def reserve_port(host: str = LOOPBACK) -> Reservation:
    """Reserve a free port of `host`."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, 0))
    except OSError:
        holder.close()
        raise
    return Reservation(holder.getsockname()[1], holder)


def pick_free_port(host: str = LOOPBACK) -> int:
    """A port that nobody listens on now; another process may take it before the caller does."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def require_free_port(host: str, port: int) -> None:
    """Raise MachineError when nobody could listen on `host:port` now; it names the process that holds the port."""
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            raise explain_bind_error(host, port, error) from error


def explain_bind_error(host: str, port: int, error: OSError) -> MachineError:
    """Why nobody can listen on `host:port`."""
    if isinstance(error, PermissionError):
        return MachineError(f"may not listen on port {port}", "ports below 1024 are for root: use --port 8080")
    if error.errno not in {errno.EADDRINUSE, None}:
        return MachineError(
            f"cannot listen on {host}:{port}: {error.strerror}", "check `listen.host` of the ModelGateway"
        )
    pid = find_listener(port)
    holder = f" by process {pid} ({fetch_command_line(pid)[:80]})" if pid else ""
    return MachineError(
        f"port {port} is taken{holder}", f"choose another: --port {port + 1}, or --port 0 for any free one"
    )


def find_listener(port: int) -> int | None:
    """The pid that listens on `port`; None when nobody does, or when /proc does not show whose socket it is."""
    return next(iter(find_holders(list_listening_sockets(port), list_pids())), None)


def list_listening_sockets(port: int) -> set[str]:
    """The inodes of the sockets that listen on `port` in this network namespace, on any address."""
    inodes = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (PROC / "net" / name).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    return inodes


def find_holders(inodes: set[str], pids: Iterable[int]) -> list[int]:
    """Those of `pids` that hold one of these sockets open; processes that may not be looked at are left out."""
    links = {f"socket:[{inode}]" for inode in inodes}
    return [pid for pid in pids if links and _holds_any(pid, links)]


def _holds_any(pid: int, links: set[str]) -> bool:
    with contextlib.suppress(OSError), os.scandir(PROC / str(pid) / "fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if os.readlink(entry.path) in links:
                    return True
    return False
