"""Composition root of a gateway process: builds every object once, and runs them: start, reload, drain.

Does not know where tables come from: it is given a TableSource, and told whom to inform. Nothing asks it anything.
"""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Iterable
from typing import Final, Protocol

from remuda.gateway.access.admission import Admission
from remuda.gateway.access.identify import Identifier
from remuda.gateway.access.keys import KeyRing
from remuda.gateway.access.tenant_store import HOW_TO_OPEN, NO_KEYS
from remuda.gateway.deadlines import Sweeper, Timed
from remuda.gateway.errors import GatewayError
from remuda.gateway.flow import Flow, Parts
from remuda.gateway.http.clients import Clients
from remuda.gateway.http.listener import Listener, raise_file_limit
from remuda.gateway.record.access_lines import AccessLines
from remuda.gateway.record.ledger import Ledger
from remuda.gateway.record.log_writer import LogWriter
from remuda.gateway.serving.directory import Directory
from remuda.gateway.serving.forward import Forwarder
from remuda.gateway.serving.generate import Generator
from remuda.gateway.serving.pages import Pages, Sources
from remuda.gateway.serving.side import Sides
from remuda.gateway.serving.watch.hangs import HangWatch
from remuda.gateway.serving.watch.health import HealthChecker
from remuda.gateway.settings import GatewaySettings, check_exposure, is_loopback, wants_keys
from remuda.gateway.table import KeyRecord, Table, Waiting, resolve_key_models
from remuda.gateway.waiting import Turns
from remuda.observe.figures import FigureBoard
from remuda.observe.logs import AccessLog, configure_logging

_log = logging.getLogger("remuda.gateway")
_STDERR: Final = 2
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
"""Between two tries to follow a table source that failed."""


class TableSource(Protocol):
    """Where tables come from: a file read once, a supervisor's socket, a cluster."""

    def watch(self) -> AsyncIterator[Table | Waiting]:
        """The table now, then each change. When it ends, the source is gone: drain and stop."""
        ...


class Gateway:
    """All objects of one gateway process. Tests make their own."""

    def __init__(
        self,
        settings: GatewaySettings,
        board: FigureBoard | None = None,
        log_writer: LogWriter | None = None,
    ) -> None:
        self._settings = settings
        self._log_writer = LogWriter(_STDERR) if log_writer is None else log_writer
        self._access_lines = AccessLines(AccessLog(settings.logging.format, self._log_writer.put))
        self.ledger = Ledger(self._access_lines.add if settings.logging.access else None)
        self.directory = Directory(settings)
        self.admission = Admission(settings.limits.requests_in_flight, settings.limits.connections)
        self.identifier = Identifier(
            metrics_open=settings.metrics_open,
            own_host_only=settings.auth.mode == "auto" and is_loopback(settings.listen.host),
            origins=settings.cors.origins,
        )
        self.identifier.keys_wanted = settings.auth.mode == "keys"
        self._keys: list[KeyRecord] = []
        self.hurry = asyncio.Event()
        """Set by somebody who does not want to wait until requests have finished."""
        forwarder = Forwarder(settings, self.directory, self.ledger)
        self._sides = Sides(settings)
        turns = Turns()
        flow = Flow(
            Parts(settings, self.identifier, self.admission, self.directory, forwarder, self._sides, self.ledger, turns)
        )
        self.clients = Clients(settings, flow)
        generator = Generator(settings, self.directory, forwarder, self.ledger, turns)
        self.board = FigureBoard() if board is None else board
        sources = Sources(
            self.directory,
            self.ledger,
            self.admission,
            self.identifier,
            self.clients,
            self._log_writer,
            self.board,
        )
        flow.pages = Pages(sources, generator)
        self._listener = Listener(self.clients)
        health = HealthChecker(self.directory, settings)
        self._hang_watch = HangWatch(self.directory, settings)
        ticks = (health.tick, self._hang_watch.tick, self._access_lines.flush)
        self._sweeper = Sweeper(settings.tick_s, self._watched, ticks)

    def apply(self, change: Table | Waiting) -> None:
        """Take over what a source says. Requests on their way keep what they have. Raises GatewayError."""
        if isinstance(change, Waiting):
            self.directory.explain(change.models)
            return
        self._apply_keys(change)
        self.identifier.take_sides(change.sides)
        self.directory.apply(change)

    def _apply_keys(self, table: Table) -> None:
        identifier = self.identifier
        asked_before = identifier.keys_wanted
        if not asked_before:
            check_exposure(self._settings, table.asks_for_keys)
            identifier.keys_wanted = wants_keys(self._settings, table.asks_for_keys)
        keys = resolve_key_models(table)
        if self.directory.loaded and keys == self._keys and identifier.keys_wanted == asked_before:
            return
        self._keys = keys
        identifier.take_keys(KeyRing(keys))
        if identifier.keys_wanted and not keys:
            _log.warning("%s (hint: %s)", NO_KEYS, HOW_TO_OPEN)

    async def start(self) -> int:
        """Listen; the port."""
        port = await self._listener.open()
        self._sweeper.start()
        return port

    async def drain(self, timeout_s: float | None = None) -> bool:
        """Stop in steps; True when no connection had to be cut. `hurry` ends the first and the third step at once.

        1. Say so: /ready answers 503, and connections close after their answers. For `lame_duck_s` everything is still
           served, because load balancers take a while to notice.
        2. Accept no further connections and no further requests; close idle connections.
        3. Let requests in flight finish, for `timeout_s` at most.
        4. Cut what is left.
        """
        clients = self.clients
        clients.draining = True
        lame_duck_s = self._settings.timeouts.lame_duck_s
        if lame_duck_s:
            await _wait_for_any(lame_duck_s, self.hurry)
        self.admission.closed = True
        self._listener.close()
        empty = asyncio.Event()
        clients.on_empty = empty.set
        for link in list(clients.links):
            link.drain()
        if clients.links:
            limit_s = self._settings.timeouts.drain_s if timeout_s is None else timeout_s
            await _wait_for_any(limit_s, self.hurry, empty)
        clean = not clients.links
        for link in list(clients.links):
            link.cut()
        await self._close()
        return clean

    async def _close(self) -> None:
        self._sweeper.stop()
        self._hang_watch.close()
        for engine in self.directory.engines.values():
            engine.pool.close()
        await asyncio.sleep(0)  # connections that were cut are told so in the next turn of the loop
        self._access_lines.flush()

    def _watched(self) -> Iterable[Iterable[Timed]]:
        yield self.clients.links
        for engine in self.directory.connected():
            yield engine.pool.connections
        for pool in self._sides.pools():
            yield pool.connections


async def _wait_for_any(limit_s: float, *events: asyncio.Event) -> None:
    """Wait until one of the events has happened, at most for `limit_s`."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


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


def open_log(settings: GatewaySettings) -> LogWriter:
    """Send everything that this process logs to standard error, through a writer that never blocks."""
    writer = LogWriter(_STDERR)
    configure_logging(settings.logging.format, settings.logging.level, writer)
    return writer


def run(settings: GatewaySettings, source: TableSource, observer: Observer | None = None) -> None:
    """Serve until SIGTERM, SIGINT or the end of the source; then drain. A second signal ends the drain at once."""
    import uvloop

    writer = open_log(settings)
    if observer is None:
        observer = LogObserver("https" if settings.listen.tls else "http")
    try:
        uvloop.run(run_gateway(Gateway(settings, log_writer=writer), settings, source, observer))
    finally:
        writer.close()


async def run_gateway(gateway: Gateway, settings: GatewaySettings, source: TableSource, observer: Observer) -> None:
    """The same inside a loop, with a gateway that is built and not started."""
    raise_file_limit(settings.limits.connections)
    stop = asyncio.Event()

    def take_signal() -> None:
        (gateway.hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, take_signal)
    follower = asyncio.create_task(follow(gateway, source))
    stopped = asyncio.create_task(stop.wait())
    try:
        loaded = asyncio.create_task(gateway.directory.first_table.wait())
        await asyncio.wait({loaded, stopped, follower}, return_when=asyncio.FIRST_COMPLETED)
        loaded.cancel()
        if follower.done():
            follower.result()  # raises what refused the first table
        if not gateway.directory.loaded or stop.is_set():
            return
        port = await gateway.start()
        observer.listening(settings.listen.host, port)
        gc.collect()
        gc.freeze()
        await asyncio.wait({stopped, follower}, return_when=asyncio.FIRST_COMPLETED)
        observer.drained(await gateway.drain())  # the table is still followed, for requests are still served
    finally:
        follower.cancel()
        stopped.cancel()


async def follow(gateway: Gateway, source: TableSource) -> None:
    """Apply each table until there will be no more. A source that fails is watched again, after a pause.

    Raises GatewayError when the very first table cannot be served: then there is nothing to go on with.
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            async for change in source.watch():
                _apply(gateway, change)
                pause_s = _FIRST_PAUSE_S
        except Exception as error:  # a follower that ended would leave the keys of that moment in force for ever
            if isinstance(error, GatewayError) and not gateway.directory.loaded:
                raise
            _log.exception("following the table failed; it stays as it is, and is followed again in %g s", pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        else:
            return


def _apply(gateway: Gateway, change: Table | Waiting) -> None:
    try:
        gateway.apply(change)
    except GatewayError as error:
        if not gateway.directory.loaded:
            raise
        _log.error("the new table was refused: %s", error.message)
