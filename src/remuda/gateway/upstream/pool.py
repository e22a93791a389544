"""The connections to one engine: opened, kept between requests, closed.

Also keeps what every request to this engine begins with. Does not know the engine's load or health, models or clients.
"""

import asyncio
import ssl
from dataclasses import dataclass
from time import monotonic
from typing import cast

from remuda.gateway.deadlines import NEVER
from remuda.gateway.head_memo import HeadMemo
from remuda.gateway.upstream.connection import Owner, Upstream
from remuda.gateway.upstream.head import AnswerHead
from remuda.gateway.upstream.request import render_address_lines, render_start
from remuda.gateway.upstream.taker import AttemptFailed
from remuda.gateway.waiting import Signal
from remuda.policy.retry import Phase


@dataclass(frozen=True)
class Address:
    """Where an engine is and what it wants to be told."""

    engine_id: str
    host: str
    port: int
    tls: bool = False
    path_prefix: str = ""
    api_key: str = ""
    socket_path: str = ""
    """A Unix socket on this machine, instead of host and port."""

    def is_same_place(self, other: "Address") -> bool:
        """Whether a connection to one of them is a connection to the other."""
        return (self.host, self.port, self.tls) == (other.host, other.port, other.tls)


@dataclass(frozen=True)
class PoolLimits:
    """The bounds on the connections to one engine."""

    connect_timeout_s: float
    idle_connections: int
    """More idle connections than this are closed."""
    keep_alive_s: float
    """An idle connection is closed after this time."""


class Pool(Owner):
    """The connections to one engine."""

    __slots__ = (
        "_address",
        "_address_lines",
        "_connecting",
        "_last_time_s",
        "_limits",
        "_path_prefix",
        "_timer",
        "_tls",
        "answer_memo",
        "closed",
        "connections",
        "connects",
        "id_line",
        "idle",
        "own",
        "starts",
    )

    def __init__(self, address: Address, limits: PoolLimits, own: bool = False) -> None:
        """`own`: a process of our own answers, not an engine."""
        self._limits = limits
        self.own = own
        self._connecting: set[asyncio.Task[None]] = set()
        self._tls: ssl.SSLContext | None = ssl.create_default_context() if address.tls else None
        self.answer_memo: HeadMemo[AnswerHead] | None = None
        self.connections: set[Upstream] = set()
        self.idle: list[Upstream] = []
        self.closed = False
        self._last_time_s = NEVER
        self._timer: asyncio.TimerHandle | None = None
        self.connects = 0
        """How many connections were tried so far."""
        self.change_address(address)

    def change_address(self, address: Address) -> None:
        """Take over another key, path prefix or id of the engine at the same place."""
        self._address = address
        self._address_lines = render_address_lines(address.host, address.port, address.api_key)
        self._path_prefix = address.path_prefix.rstrip("/").encode()
        self.id_line = f"x-remuda-engine: {address.engine_id}\r\n".encode()
        """The header line that tells a client which engine answered."""
        self.starts: dict[str, bytes] = {}
        """path → the part of a request's head that all requests on it share."""

    def start_for(self, path: str) -> bytes:
        """Render the shared part of a request's head on this path and remember it in `starts`."""
        start = render_start(self._path_prefix, path, self._address_lines)
        self.starts[path] = start
        return start

    def render_get(self, path: str) -> bytes:
        """A request for a page of the engine, on a connection that closes after it."""
        return b"GET %b%b HTTP/1.1\r\n%bconnection: close\r\n\r\n" % (
            self._path_prefix,
            path.encode(),
            self._address_lines,
        )

    def render_question(self, path: str, length: int) -> bytes:
        """The head of a small JSON request of our own, on a connection that closes after it."""
        lines = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % length
        return (self.starts.get(path) or self.start_for(path)) + lines

    def take_idle(self, fresh: bool) -> Upstream | None:
        """The newest idle connection; None if there is none or a fresh one is wanted."""
        idle = self.idle
        while idle and not fresh:
            upstream = idle.pop()
            if not upstream.lost and not upstream.transport.is_closing():
                return upstream
        return None

    def connect(self) -> Signal[Upstream]:
        """Open a connection; the signal is set when it is there."""
        signal: Signal[Upstream] = Signal()
        task = asyncio.get_running_loop().create_task(self._connect(signal))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return signal

    async def _connect(self, signal: Signal[Upstream]) -> None:
        try:
            upstream = await self.open_connection()
        except AttemptFailed as failure:
            signal.fail(failure)
            return
        if signal.abandoned:
            self.keep(upstream)
        else:
            signal.set(upstream)

    async def open_connection(self, *, for_once: bool = False) -> Upstream:
        """A new connection. Raises AttemptFailed. `for_once`: it carries one request and is not kept."""
        address = self._address
        self.connects += 1
        try:
            async with asyncio.timeout(self._limits.connect_timeout_s):
                upstream = await self._open(address)
        except TimeoutError:
            raise AttemptFailed(Phase.CONNECT, "it did not accept a connection in time") from None
        except (OSError, UnicodeError) as error:
            raise AttemptFailed(Phase.CONNECT, type(error).__name__) from error
        self.connections.add(upstream)
        if for_once:
            upstream.use_once()
        if self.closed:
            self._limit_life()
        return upstream

    async def _open(self, address: Address) -> Upstream:
        loop = asyncio.get_running_loop()
        upstream = Upstream(self)
        protocol = cast("asyncio.Protocol", upstream)
        if address.socket_path:
            await loop.create_unix_connection(lambda: protocol, address.socket_path)
        else:
            name = address.host if self._tls else None
            await loop.create_connection(
                lambda: protocol, address.host, address.port, ssl=self._tls, server_hostname=name
            )
        return upstream

    def keep(self, upstream: Upstream) -> None:
        """An unused connection waits here for the next request."""
        if self.closed or len(self.idle) >= self._limits.idle_connections:
            upstream.transport.close()
            return
        upstream.deadline_at = monotonic() + self._limits.keep_alive_s
        self.idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        self.connections.discard(upstream)
        if not upstream.busy and upstream in self.idle:
            self.idle.remove(upstream)

    def close(self, last_time_s: float = NEVER) -> None:
        """The engine is no longer used. Idle connections close now, the others after their answers.

        last_time_s  answers that take longer than this from now on are cut
        """
        self.closed = True
        self._last_time_s = last_time_s
        for upstream in self.idle:
            upstream.transport.close()
        self.idle.clear()
        if self.connections or self._connecting:
            self._limit_life()

    def _limit_life(self) -> None:
        if self._timer is None and self._last_time_s < NEVER:
            self._timer = asyncio.get_running_loop().call_later(self._last_time_s, self._cut)

    def _cut(self) -> None:
        self._timer = None
        for upstream in list(self.connections):
            upstream.cut("it left the fleet, and the time for its last answers is over")
