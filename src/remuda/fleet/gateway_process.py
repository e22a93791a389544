"""Starts the gateway process, sends it tables, restarts it when it dies or sends no heartbeat, and drains it.

Both processes write JSON lines to a socket pair. This one sends {"settings": …} once, {"table": …} on each change,
{"waiting": …} when only the words about starting engines have changed, and {"figures": …} at an interval. The gateway
sends {"event": "listening" | "alive" | "drained" | "problem", …}. When this process closes the socket or dies, the
gateway reads the end of file, drains and exits. The module does not know engines, nor what a table contains.
"""

import asyncio
import contextlib
import enum
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from remuda.fleet.errors import FleetError
from remuda.machine.files import open_append
from remuda.machine.processes import name_signal

COMMAND = (sys.executable, "-P", "-m", "remuda.gateway", "--fd")
START_TIMEOUT_S = 20.0  # it listens in well under a second; a machine that loads an engine beside it may need longer
FIRST_BACKOFF_S = 0.2  # a crash costs every client: the first restart comes almost at once
MAX_BACKOFF_S = 10.0
STEADY_S = 60.0  # after a run of this length, the next restart waits FIRST_BACKOFF_S again
LEAVE_S = 3.0  # after "drained" or a closed socket the process only has to exit
HEARTBEAT_CHECK_S = 3.0  # three heartbeats fit in between two checks, so that a slow one is not taken for silence
SILENT_CHECKS = 5  # 15 seconds: longer than a loaded machine delays a process, shorter than clients wait


class GatewayState(enum.StrEnum):
    """The state of the gateway process."""

    STARTING = "starting"
    LISTENING = "listening"
    BACKOFF = "backoff"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """The gateway process now."""

    state: GatewayState = GatewayState.STARTING
    reason: str = ""
    pid: int | None = None
    port: int = 0
    restarts: int = 0
    entered_at: float = field(default_factory=time.time)
    """Unix time at which `state` was entered."""


class GatewayStartError(FleetError):
    """The gateway said why it cannot listen; another start would give the same reason."""


class _Event(msgspec.Struct, frozen=True):
    """A line of the gateway."""

    event: str
    port: int = 0
    message: str = "unknown"
    hint: str = ""


class HeartbeatMonitor:
    """Notices that a process no longer sends heartbeats.

    It counts checks, not seconds: when this process itself stands still (a laptop asleep, a stopped process), that is
    one check without a heartbeat, and by the next one the heartbeats that waited in the socket have been read. Only
    several silent checks in a row mean silence. A heartbeat proves that the event loop runs, not that requests are
    answered well.
    """

    def __init__(
        self,
        check_s: float = HEARTBEAT_CHECK_S,
        silent_checks: int = SILENT_CHECKS,
        wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._check_s = check_s
        self._silent_checks = silent_checks
        self._wait = wait
        self._heard = False

    @property
    def patience_s(self) -> float:
        """The shortest silence that is noticed."""
        return self._check_s * self._silent_checks

    def note_heartbeat(self) -> None:
        """A heartbeat came."""
        self._heard = True

    async def until_silent(self) -> None:
        """Return after too many checks in a row without a heartbeat."""
        silent = 0
        while silent < self._silent_checks:
            await self._wait(self._check_s)
            silent = 0 if self._heard else silent + 1
            self._heard = False


class GatewaySupervisor:
    """Keeps one gateway process running, one after another, until drained."""

    def __init__(
        self,
        settings: dict[str, Any],
        observer: Callable[[GatewayStatus], None],
        log_path: Path,
        command: tuple[str, ...] = COMMAND,
        heartbeats: HeartbeatMonitor | None = None,
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._log_path = log_path
        self._command = command
        self._heartbeats = heartbeats or HeartbeatMonitor()
        self._table: object = None
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._stopping = asyncio.Event()
        self._finished = asyncio.Event()
        self._listened = asyncio.Event()
        self._problem = ""
        self._hint = ""
        self._last_end = ""
        self._port = 0  # known after the first "listening" and kept over restarts
        self.status = GatewayStatus()

    async def run(self) -> None:
        """Keep a gateway running until `drain` or `kill`; raises GatewayStartError when the first cannot listen."""
        try:
            await self._run_until_stopped()
        finally:
            self.kill()
            if self._process is not None:
                await self._process.wait()
            self._set_state(GatewayState.STOPPED, "")
            self._finished.set()

    async def _run_until_stopped(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while not self._stopping.is_set():
            began_at = time.monotonic()
            code = await self._run_once()
            if self._stopping.is_set():
                return
            if not self._port:
                raise GatewayStartError(self._problem or self._describe_exit(code), self._hint)
            backoff_s = FIRST_BACKOFF_S if time.monotonic() - began_at > STEADY_S else backoff_s
            self._last_end = self._describe_exit(code)
            self._set_state(GatewayState.BACKOFF, f"{self._last_end}; again in {backoff_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff_s)
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
            self.status = replace(self.status, restarts=self.status.restarts + 1)

    def send_table(self, table: object) -> None:
        """Give the gateway a new table, now and after each restart."""
        self._table = table
        self._send({"table": table})

    def send_words(self, words: Mapping[str, str], table: object) -> None:
        """Tell the gateway what models wait for. A process that starts later gets `table`, which has these words."""
        self._table = table
        self._send({"waiting": {"models": words}})

    def send_figures(self, figures: object) -> None:
        """Give the gateway figures for its page, unless it has still to read what it was sent before."""
        if self._writer is not None and not self._writer.transport.get_write_buffer_size():
            self._send({"figures": figures})

    async def drain(self, timeout_s: float) -> None:
        """Let running requests finish for at most `timeout_s`, then end the process. Returns when `run` is over."""
        self._stopping.set()
        if self._writer is not None:
            self._set_state(GatewayState.DRAINING, "finishing running requests")
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.write_eof()
        try:
            await asyncio.wait_for(self._finished.wait(), timeout_s + LEAVE_S)
        except TimeoutError:
            self.kill()
            await self._finished.wait()

    def kill(self) -> None:
        """End the process now."""
        self._stopping.set()
        self._kill_process()

    def _kill_process(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _run_once(self) -> int:
        """One process from start to exit; its exit status.

        After a gateway has listened once, a start that the operating system refuses counts as an end and is retried.
        """
        self._problem = self._hint = ""
        self._listened.clear()
        try:
            reader = await self._start()
        except OSError as error:
            if not self._port:
                raise
            self._problem = f"the gateway could not be started: {error.strerror}"
            return 1
        assert self._process is not None
        assert self._writer is not None
        monitor = asyncio.create_task(self._kill_when_silent(), name="heartbeats of the gateway")
        try:
            await self._read_events(reader)
            return await self._process.wait()
        finally:
            monitor.cancel()
            self._writer.close()
            self._writer = None

    async def _start(self) -> asyncio.StreamReader:
        ours, theirs = socket.socketpair()
        try:
            with theirs, open_append(self._log_path) as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # a Ctrl-C in the terminal must reach the parent alone
                )
            reader, self._writer = await asyncio.open_connection(sock=ours)
        except BaseException:  # a cancelled start must not leak the socket
            ours.close()
            raise
        if self._stopping.is_set():
            self.kill()
        self._set_state(GatewayState.STARTING, "starting")
        self._send({"settings": self._settings})
        if self._table is not None:
            self._send({"table": self._table})
        return reader

    async def _read_events(self, reader: asyncio.StreamReader) -> None:
        """Read the process's events until it closes the socket; a process that never listens is killed."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S) as limit:
                async for line in _lines(reader):
                    self._take_event(msgspec.json.decode(line, type=_Event))
                    if self.status.state is not GatewayState.STARTING:
                        limit.reschedule(None)
        except TimeoutError:
            self._problem = f"the gateway did not listen within {START_TIMEOUT_S:g} s"
            self._hint = f"its log: {self._log_path}"
            self._kill_process()
        except ValueError as error:
            self._problem = f"the gateway sent a line that is no event: {error}"
            self._hint = f"its log: {self._log_path}"
            self._kill_process()

    async def _kill_when_silent(self) -> None:
        """Kill the process when it has listened and then sends no heartbeats; SIGKILL also ends a stopped process.

        This goes on while it drains: a process that hangs finishes nothing, however long it is given.
        """
        await self._listened.wait()
        await self._heartbeats.until_silent()
        self._problem = f"it did not answer for {self._heartbeats.patience_s:g} s; killed"
        if self.status.state is GatewayState.DRAINING:
            self._set_state(GatewayState.DRAINING, self._problem)
        self._kill_process()

    def _take_event(self, event: _Event) -> None:
        match event.event:
            case "alive":
                self._heartbeats.note_heartbeat()
            case "listening":
                self._port = event.port
                self._settings = {**self._settings, "listen": {**self._settings["listen"], "port": self._port}}
                self._listened.set()
                if not self._stopping.is_set():
                    self._set_state(GatewayState.LISTENING, self._last_end and f"started again: {self._last_end}")
            case "problem":
                self._problem, self._hint = event.message, event.hint
            case _:
                pass

    def _send(self, message: dict[str, object]) -> None:
        """Write a line, unless the process drains: the end of file was sent then, and nothing can follow it."""
        if self._writer is not None and not self._writer.is_closing() and not self._stopping.is_set():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    def _set_state(self, state: GatewayState, reason: str) -> None:
        process = self._process
        self.status = replace(
            self.status,
            state=state,
            reason=reason,
            entered_at=self.status.entered_at if state is self.status.state else time.time(),
            pid=process.pid if process and process.returncode is None else None,
            port=self._port,
        )
        self._observer(self.status)

    def _describe_exit(self, code: int) -> str:
        if self._problem:
            return self._problem
        if code < 0:
            return f"killed by {name_signal(-code)}"
        return f"ended with status {code}; its log: {self._log_path}"


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            yield line
