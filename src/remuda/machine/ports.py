"""TCP ports of this machine: reserve one, find a free one, and see which process listens on one.

A reservation is a socket that is bound with SO_REUSEADDR and never listens. The kernel then gives the port to nobody
else, while a server that sets SO_REUSEADDR itself (as vLLM does) can still bind it, now and after each restart.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from remuda.machine.errors import MachineError
from remuda.machine.processes import PROC, fetch_command_line, list_pids

LOOPBACK = "127.0.0.1"
_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp
_MAPPED = f"{'0' * 16}{struct.unpack('=I', bytes([0, 0, 255, 255]))[0]:08X}"  # ::ffff:0:0, the prefix of IPv4 in IPv6


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
    holder = describe_listener(port)
    holder = f" by {holder}" if holder else ""
    return MachineError(
        f"port {port} is taken{holder}", f"choose another: --port {port + 1}, or --port 0 for any free one"
    )


def describe_listener(port: int) -> str:
    """The process that listens on `port`: "process 7 (nginx -g …)"; "" when /proc does not show it."""
    inodes = {listener.inode for listener in list_listeners(port)}
    pid = next(iter(find_holders(inodes, list_pids())), None)
    return f"process {pid} ({fetch_command_line(pid)[:80]})" if pid else ""


def is_held_by(pids: Iterable[int], port: int, host: str = LOOPBACK) -> bool:
    """Whether one of `pids` holds the socket that answers on `host:port`.

    True also when that cannot be seen: nobody listens there any more, or none of `pids` may be looked at.
    """
    answering = pick_answering(list_listeners(port), host)
    wanted = [pid for pid in pids if os.access(PROC / str(pid) / "fd", os.R_OK)]
    return not wanted or all(find_holders({listener.inode}, wanted) for listener in answering)


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP socket that listens."""

    address: str
    """Its local address as the kernel writes it, in hexadecimal."""
    inode: str


def pick_answering(listeners: Iterable[Listener], host: str) -> list[Listener]:
    """Those that get the connections to the IPv4 address `host`: sockets of that address, else of every address."""
    number = struct.unpack("=I", socket.inet_aton(host))[0]
    exact = [one for one in listeners if one.address in {f"{number:08X}", f"{_MAPPED}{number:08X}"}]
    return exact or [one for one in listeners if not one.address.strip("0")]


def list_listeners(port: int) -> list[Listener]:
    """The sockets that listen on `port` in this network namespace, on any address."""
    found = []
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (PROC / "net" / name).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                address, _, number = fields[1].rpartition(":")
                if fields[3] == _LISTEN and int(number, 16) == port:
                    found.append(Listener(address, fields[9]))
    return found


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
