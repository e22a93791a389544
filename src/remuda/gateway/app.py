"""Composition root of a gateway process: builds every object once, no globals.

`run` is what `remuda gateway FILE` and the process entry (`control`) call. It does not know where tables come from:
it is given a TableSource, and told whom to inform.
"""

import asyncio
import contextlib
import gc
import logging
import os
import platform
import resource
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from time import monotonic
from typing import Protocol, cast

import remuda
from remuda.gateway.access.keys import ANONYMOUS, KeyRefusal, KeyRing, Principal
from remuda.gateway.access.refusals import KEY_REFUSED
from remuda.gateway.api import problems
from remuda.gateway.api.ask import FieldRules
from remuda.gateway.api.problems import Refused
from remuda.gateway.api.routes import Page
from remuda.gateway.deadlines import Sweeper, Timed
from remuda.gateway.errors import GatewayError
from remuda.gateway.http import cors
from remuda.gateway.http.connection import Connection
from remuda.gateway.http.exchange import Exchange
from remuda.gateway.http.head import HeadLimits, RequestHead
from remuda.gateway.record.ledger import Ledger
from remuda.gateway.serving.directory import Directory
from remuda.gateway.serving.health import HealthChecker
from remuda.gateway.settings import GatewaySettings, check_exposure, wants_keys
from remuda.gateway.table import Table, resolve_key_models
from remuda.observe.figures import FigureBoard
from remuda.observe.logs import Access, AccessLog, configure_logging
from remuda.policy.outcome import Outcome
from remuda.policy.retry import RetryBudget
from remuda.vllm.routes import Route

_log = logging.getLogger("remuda.gateway")
_WHILE_DRAINING = frozenset({b"/health", b"/metrics"})
_UNSENT_BYTES = 256 * 1024
"""Bytes of one client's answer in the kernel that are not on the wire yet."""
_TRUST_S = 1.0
"""How long a connection that repeats itself byte for byte is not asked again: the precision of an expiry."""


class TableSource(Protocol):
    """Where the table comes from: a file read once, a supervisor's socket, a cluster."""

    def watch(self) -> AsyncIterator[Table]:
        """The table now, then each change. Ending = the source is gone: drain and stop."""
        ...


class Gateway:
    """Everything a request meets on its way. One per process; tests make their own."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.version = remuda.__version__
        self.python = platform.python_version()
        self.draining = False
        self.in_flight = 0
        self._bodies_bytes = 0
        self._most_in_flight = settings.requests_in_flight
        self.connections: set[Connection] = set()
        self.directory = Directory(settings)
        self.keys = KeyRing(())
        self.field_rules = FieldRules(settings.fields_allow, settings.fields_deny)
        self.head_limits = HeadLimits(settings.head_bytes, settings.header_count, settings.url_bytes)
        self.retry_budget = RetryBudget(settings.retry_ratio, settings.retry_per_s, settings.retry_most, monotonic())
        self.cors = cors.Cors(settings.cors_origins)
        self._keys_wanted = settings.auth == "keys"
        self._access = AccessLog(settings.log_format, _write_log)
        self.ledger = Ledger(self._log_request if settings.log_access else None)
        self._health = HealthChecker(self.directory, settings)
        self._sweeper = Sweeper(settings.tick_s, self._watched, (self._health.tick, self._flush_log))
        self._server: asyncio.Server | None = None
        self._idle = asyncio.Event()

    # ---- what requests ask

    def admit_connection(self, connection: Connection) -> bool:
        """Count it in; False when there are too many."""
        if len(self.connections) >= self.settings.connections:
            self.ledger.connections_refused += 1
            return False
        self.connections.add(connection)
        self.ledger.connections_opened += 1
        return True

    def forget_connection(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if self.draining and not self.connections:
            self._idle.set()

    def admit(self, exchange: Exchange) -> None:
        """Not too many at once; nothing new while draining; browsers are answered by CORS."""
        self.in_flight += 1
        head = exchange.head
        exchange.cors = self.cors.lines_for(head.origin)
        if self.draining and head.path not in _WHILE_DRAINING:
            raise Refused(problems.SHUTTING_DOWN)
        if self.in_flight > self._most_in_flight:
            raise Refused(problems.overloaded("any", 1))

    def authenticate(self, exchange: Exchange, route: Route | Page) -> Principal:
        """Who asks. Pages for probes are open; everything else wants a key when keys are wanted."""
        if not self._keys_wanted:
            return ANONYMOUS
        if isinstance(route, Page) and (route.open or (route.name == "metrics" and self.settings.metrics_open)):
            return ANONYMOUS
        head = exchange.head
        caller = head.caller
        # The same bytes, the same keys, a second ago at most: the same caller.
        if caller is None or head.ring is not self.keys or exchange.started_s - head.checked_s > _TRUST_S:
            caller = self._check_key(head)
            head.caller, head.ring, head.checked_s = caller, self.keys, exchange.started_s
        exchange.tenant = caller.tenant
        exchange.key_name = caller.key
        return caller

    def _check_key(self, head: RequestHead) -> Principal:
        principal = self.keys.check(head.authorization, head.x_api_key, time.time())
        if isinstance(principal, KeyRefusal):
            self.ledger.count_refused_key(principal.value)
            raise Refused(KEY_REFUSED[principal])
        return principal

    def reserve_body(self, size: int) -> bool:
        """Room for a body that has yet to come; False when all bodies together would be too much."""
        if self._bodies_bytes + size > self.settings.bodies_bytes:
            return False
        self._bodies_bytes += size
        return True

    def account(self, exchange: Exchange, outcome: Outcome) -> None:
        """The one place where a request ends."""
        self.in_flight -= 1
        self._bodies_bytes -= exchange.reserved_bytes
        self.ledger.account(exchange, outcome)

    def report_crash(self, exchange: Exchange, error: BaseException) -> None:
        """A bug escaped the flow of this request."""
        self.log_crash(exchange, error)
        if exchange.outcome is None:
            self.account(exchange, Outcome.INTERNAL_ERROR)

    def log_crash(self, exchange: Exchange, error: BaseException) -> None:
        _log.error("request %s failed", exchange.request_id.decode(), exc_info=error)

    # ---- life

    def apply(self, table: Table) -> None:
        """Take over a new table; requests on their way keep what they had.

        Once keys were asked for, they are: revoking the last one must not open the gateway to everybody.
        """
        has_keys = bool(table.keys)
        if not self._keys_wanted:
            check_exposure(self.settings, has_keys)
            self._keys_wanted = wants_keys(self.settings, has_keys)
        self.keys = KeyRing(resolve_key_models(table))
        self.directory.apply(table)
        self.ledger.generation += 1

    async def start(self) -> int:
        """Listen; the port."""
        settings = self.settings
        loop = asyncio.get_running_loop()
        tls = load_tls(settings)
        sock = open_socket(settings)
        port: int = sock.getsockname()[1]
        self._server = await loop.create_server(
            lambda: cast("asyncio.Protocol", Connection(self)), sock=sock, backlog=settings.backlog, ssl=tls
        )
        self._sweeper.start()
        return port

    async def drain(self, timeout_s: float | None = None) -> bool:
        """Stop accepting, let requests in flight finish, cut what is left. True when nothing had to be cut."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drain()
        if not self.connections:
            self._idle.set()
        limit_s = self.settings.drain_timeout_s if timeout_s is None else timeout_s
        try:
            await asyncio.wait_for(self._idle.wait(), limit_s)
            clean = True
        except TimeoutError:
            clean = False
        for connection in list(self.connections):
            connection.transport.abort()
        self._sweeper.stop()
        for engine in self.directory.engines.values():
            engine.pool.close()
        self._access.flush()
        await asyncio.sleep(0)
        return clean

    def _watched(self) -> Iterable[Iterable[Timed]]:
        yield self.connections
        for engine in self.directory.engines.values():
            yield engine.pool.connections

    def _flush_log(self, now_s: float) -> None:  # noqa: ARG002 - the sweeper tells the time
        self._access.flush()

    def _log_request(self, exchange: Exchange, duration_s: float) -> None:
        first_s = exchange.first_byte_s
        assert exchange.outcome is not None
        access = Access(
            "",
            exchange.request_id.decode(),
            exchange.route_name,
            exchange.model_name,
            exchange.outcome.value,
            exchange.status,
            round(duration_s * 1e3, 3),
            round((first_s - exchange.started_s) * 1e3, 3) if first_s else None,
            exchange.engine_id,
            exchange.tenant,
            exchange.key_name,
            exchange.tries,
            exchange.events,
            *(exchange.usage or (None, None)),
        )
        self._access.add(access, time.time())


def _write_log(data: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads our log any more; serving goes on
        os.write(2, data)


def open_socket(settings: GatewaySettings) -> socket.socket:
    """The listening socket; accepted ones inherit its options."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
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
    """The server's TLS context; None without certificate."""
    if settings.tls_cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except (OSError, ssl.SSLError) as error:
        raise GatewayError(
            f"cannot load the certificate {settings.tls_cert_file}: {error}",
            "both files must be PEM and belong together",
        ) from error
    return context


def _explain_listen(settings: GatewaySettings, error: OSError) -> GatewayError:
    import errno

    where = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return GatewayError(f"cannot listen on {where}: the port is taken", "choose another one with --port")
    if error.errno == errno.EACCES:
        return GatewayError(f"cannot listen on {where}: not allowed", "ports below 1024 need a privilege; use 8080")
    return GatewayError(f"cannot listen on {where}: {error.strerror or error}", "is this an address of this machine?")


def raise_file_limit(connections: int) -> None:
    """Let this process open as many files as it may: most systems begin with 1,024, which is 500 streams."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a hard limit above the kernel's own (fs.nr_open): as it was, then
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < connections:
        wanted = f"the {connections} connections it would take (a stream needs two)"
        _log.warning(
            "this process may open %d files, too few for %s; raise the hard limit (LimitNOFILE=)", most, wanted
        )


class Observer(Protocol):
    """Who is told what happens to the process."""

    def listening(self, host: str, port: int) -> None: ...
    def drained(self, clean: bool) -> None: ...


class LogObserver:
    """Says it in the log."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme

    def listening(self, host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        _log.info("listening on %s://%s:%d", self._scheme, shown, port)

    def drained(self, clean: bool) -> None:
        _log.info("drained" if clean else "drain timeout: requests were cut")


def run(settings: GatewaySettings, source: TableSource, observer: Observer | None = None) -> None:
    """Serve until SIGTERM, SIGINT or the end of the source; then drain."""
    import sys

    import uvloop

    configure_logging(settings.log_format, settings.log_level, sys.stderr)
    if observer is None:
        observer = LogObserver("https" if settings.tls_cert_file else "http")
    uvloop.run(run_gateway(settings, source, observer))


async def run_gateway(
    settings: GatewaySettings, source: TableSource, observer: Observer, board: FigureBoard | None = None
) -> None:
    """The same inside a loop. `board`: figures that somebody else counts, for /metrics."""
    raise_file_limit(settings.connections)
    gateway = Gateway(settings)
    if board is not None:
        gateway.ledger.board = board
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tables = source.watch()
    first = await anext(tables, None)
    if first is None:
        return
    gateway.apply(first)
    port = await gateway.start()
    observer.listening(settings.host, port)
    gc.collect()
    gc.freeze()
    follow = asyncio.create_task(_follow(gateway, tables, stop))
    await stop.wait()
    follow.cancel()
    observer.drained(await gateway.drain())


async def _follow(gateway: Gateway, tables: AsyncIterator[Table], stop: asyncio.Event) -> None:
    """Apply each table; stop when there will be no more."""
    async for table in tables:
        try:
            gateway.apply(table)
        except GatewayError as error:
            _log.error("the new table was refused: %s", error.message)
    stop.set()
