"""Loopback ports: which one an engine gets, and who holds the one that the gateway wants.

A port is reserved by a socket that is bound and never listens, with SO_REUSEADDR: nobody else is given the port,
while the engine (which sets SO_REUSEADDR itself) can still bind it, now and after each restart. Called by
`supervisor`.
"""

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from remuda.fleet.errors import FleetError
from remuda.fleet.processes import PROC, fetch_command_line

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Reservation:
    """A loopback port nobody else will be given while this lives."""

    port: int
    holder: socket.socket

    def release(self) -> None:
        """Give the port back."""
        self.holder.close()


def reserve_port(host: str = "127.0.0.1") -> Reservation:
    """Take a free port of `host` for an engine."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, 0))
    except OSError:
        holder.close()
        raise
    return Reservation(holder.getsockname()[1], holder)


def require_free_port(host: str, port: int) -> None:
    """Raise, naming the process in the way if it may be read, when the gateway could not listen on `host:port`."""
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


def explain_bind_error(host: str, port: int, error: OSError) -> FleetError:
    """Why nobody can listen on `host:port`."""
    if isinstance(error, PermissionError):
        return FleetError(f"may not listen on port {port}", "ports below 1024 are for root: use --port 8080")
    if error.errno not in {98, None}:  # EADDRINUSE
        return FleetError(
            f"cannot listen on {host}:{port}: {error.strerror}", "check `listen.host` of the ModelGateway"
        )
    pid = find_listener(port)
    holder = f" by process {pid} ({fetch_command_line(pid)[:80]})" if pid else ""
    return FleetError(
        f"port {port} is taken{holder}", f"choose another: --port {port + 1}, or --port 0 for any free one"
    )


def find_listener(port: int) -> int | None:
    """The pid that listens on `port`, if /proc lets us see it."""
    inodes = set(_fetch_listening_inodes(port))
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for folder in PROC.iterdir():
        if folder.name.isdigit() and _holds_any(folder / "fd", wanted):
            return int(folder.name)
    return None


def _holds_any(folder: Path, wanted: set[str]) -> bool:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if os.readlink(entry.path) in wanted:
                    return True
    return False


def _fetch_listening_inodes(port: int) -> list[str]:
    inodes = []
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (PROC / "net" / name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.append(fields[9])
    return inodes
