"""The open port of the gateway: its socket, its TLS, and the connections that come through it."""

import asyncio
import contextlib
import errno
import logging
import resource
import socket
import ssl
from typing import Final, cast

from remuda.gateway.errors import GatewayError
from remuda.gateway.http.clients import Clients
from remuda.gateway.http.connection import Connection
from remuda.gateway.settings import GatewaySettings

_log = logging.getLogger("remuda.gateway")
_UNSENT_BYTES: Final = 256 * 1024
"""Bytes of one client's answer in the kernel that are not on the wire yet."""
_TLS_HANDSHAKE_S: Final = 10.0
"""A client that connects and does not complete its TLS handshake is cut after this."""
_TLS_SHUTDOWN_S: Final = 5.0
"""A client that does not answer the end of a TLS connection is cut after this."""


class Listener:
    """Accepts connections for `clients` until it is closed."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._server: asyncio.Server | None = None

    async def open(self) -> int:
        """Listen; the port."""
        settings = self._clients.settings
        tls = load_tls(settings)
        sock = open_socket(settings)
        port: int = sock.getsockname()[1]
        self._server = await asyncio.get_running_loop().create_server(
            lambda: cast("asyncio.Protocol", Connection(self._clients)),
            sock=sock,
            backlog=settings.backlog,
            ssl=tls,
            ssl_handshake_timeout=_TLS_HANDSHAKE_S if tls else None,
            ssl_shutdown_timeout=_TLS_SHUTDOWN_S if tls else None,
        )
        return port

    def close(self) -> None:
        """Accept no further connections; those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None


def open_socket(settings: GatewaySettings) -> socket.socket:
    """The listening socket. Accepted ones inherit its options."""
    try:
        listen = settings.listen
        found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        sock = socket.create_server(
            address[:2], family=family, backlog=settings.backlog, reuse_port=settings.reuse_port
        )
    except OSError as error:
        raise _explain_listen(settings, error) from error
    # Without it the kernel takes megabytes for a slow reader before we see that it is slow.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    return sock


def load_tls(settings: GatewaySettings) -> ssl.SSLContext | None:
    """The server's TLS context; None without a certificate."""
    tls = settings.listen.tls
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise GatewayError(
            f"cannot load the certificate {tls.cert_file}: {error}",
            "both files must be PEM and belong together",
        ) from error
    return context


def _explain_listen(settings: GatewaySettings, error: OSError) -> GatewayError:
    where = f"{settings.listen.host}:{settings.listen.port}"
    if error.errno == errno.EADDRINUSE:
        return GatewayError(f"cannot listen on {where}: the port is taken", "choose another one with --port")
    if error.errno == errno.EACCES:
        return GatewayError(f"cannot listen on {where}: not allowed", "ports below 1024 need a privilege; use 8080")
    return GatewayError(f"cannot listen on {where}: {error.strerror or error}", "is this an address of this machine?")


def raise_file_limit(connections: int) -> None:
    """Let this process open as many files as it may: most systems begin with 1,024, which is 500 streams."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a hard limit above the kernel's own (fs.nr_open) cannot be used
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < connections:
        wanted = f"the {connections} connections that it would accept (a stream needs two)"
        _log.warning(
            "this process may open %d files, too few for %s; raise the hard limit (LimitNOFILE=)", most, wanted
        )
