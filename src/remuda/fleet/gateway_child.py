"""The gateway as a child process: started, fed tables, restarted when it dies, drained.

They talk over a socketpair, JSON lines both ways: {"settings": …} once, {"table": …} on each change and
{"figures": …} now and then go down; {"event": "listening" | "alive" | "drained" | "problem", …} come up. End of file
is the leash: the gateway drains and exits when its parent closes the socket or dies. One that listened and then falls
silent (stopped, stuck) is killed and started again (`pulse`). Knows nothing of engines; `supervisor` decides what is
in a table.
"""

import asyncio
import contextlib
import enum
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from remuda.fleet.errors import FleetError
from remuda.fleet.pulse import Pulse
from remuda.machine.files import open_append
from remuda.machine.processes import name_signal

COMMAND = (sys.executable, "-P", "-m", "remuda.gateway", "--fd")
START_TIMEOUT_S = 20.0  # it listens in well under a second; a machine that loads an engine beside it may need longer
FIRST_BACKOFF_S = 0.2  # a crash costs every client: the first restart is nearly at once
MAX_BACKOFF_S = 10.0
STEADY_S = 60.0  # a gateway that lived this long starts again with the first backoff
LEAVE_S = 3.0  # after "drained" or a closed socket nothing is left to do but exit


class GatewayState(enum.StrEnum):
    """Where the gateway process stands."""

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
    since: float = field(default_factory=time.time)


class GatewayStartError(FleetError):
    """The gateway said why it cannot listen; starting it again would say the same."""


class GatewayChild:
    """One gateway process after another, until drained."""

    def __init__(
        self,
        settings: dict[str, Any],
        observer: Callable[[GatewayStatus], None],
        log_path: Path,
        command: tuple[str, ...] = COMMAND,
        pulse: Pulse | None = None,
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._log_path = log_path
        self._command = command
        self._pulse = pulse or Pulse()
        self._table: object = None
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._stopping = asyncio.Event()
        self._finished = asyncio.Event()
        self._listened = asyncio.Event()
        self._problem = ""
        self._hint = ""
        self._last_end = ""
        self._port = 0  # known once it listened; kept over restarts
        self.status = GatewayStatus()

    async def run(self) -> None:
        """Keep a gateway running until `drain` or `kill`; raises GatewayStartError when the first cannot listen."""
        try:
            await self._run_again_and_again()
        finally:
            self.kill()
            if self._process is not None:
                await self._process.wait()
            self._become(GatewayState.STOPPED, "")
            self._finished.set()

    async def _run_again_and_again(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while not self._stopping.is_set():
            began_s = time.monotonic()
            code = await self._run_once_more()
            if self._stopping.is_set():
                return
            if not self._port:
                raise GatewayStartError(self._problem or self._describe_exit(code), self._hint)
            backoff_s = FIRST_BACKOFF_S if time.monotonic() - began_s > STEADY_S else backoff_s
            self._last_end = self._describe_exit(code)
            self._become(GatewayState.BACKOFF, f"{self._last_end}; again in {backoff_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff_s)
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
            self.status = replace(self.status, restarts=self.status.restarts + 1)

    def push(self, table: object) -> None:
        """Give the gateway a new table, now and after each restart."""
        self._table = table
        self._send({"table": table})

    def tell(self, figures: object) -> None:
        """Hand on figures for its page; not while it has yet to take what it was sent, for they only get older."""
        if self._writer is not None and not self._writer.transport.get_write_buffer_size():
            self._send({"figures": figures})

    async def drain(self, timeout_s: float) -> None:
        """Let running requests finish, for at most `timeout_s`, then end it. Returns when `run` is over."""
        self._stopping.set()
        if self._writer is not None:
            self._become(GatewayState.DRAINING, "finishing running requests")
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.write_eof()
        try:
            await asyncio.wait_for(self._finished.wait(), timeout_s + LEAVE_S)
        except TimeoutError:
            self.kill()
            await self._finished.wait()

    def kill(self) -> None:
        """End it now."""
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _run_once_more(self) -> int:
        """Like `_run_once`; a gateway that has listened is tried again also when the system refuses a process."""
        try:
            return await self._run_once()
        except OSError as error:
            if not self._port:
                raise
            self._problem = f"the gateway could not be started: {error.strerror}"
            return 1

    async def _run_once(self) -> int:
        """One process from start to exit."""
        self._problem = self._hint = ""
        self._listened.clear()
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
                    start_new_session=True,  # a Ctrl-C in our terminal is ours to hand on
                )
            reader, self._writer = await asyncio.open_connection(sock=ours)
        except BaseException:  # a cancelled start must not leak the socket
            ours.close()
            raise
        if self._stopping.is_set():
            self.kill()
        self._become(GatewayState.STARTING, "starting")
        self._send({"settings": self._settings})
        if self._table is not None:
            self._send({"table": self._table})
        guard = asyncio.create_task(self._end_when_silent(), name="the gateway's pulse")
        try:
            await self._listen_to(reader)
            return await self._process.wait()
        finally:
            guard.cancel()
            self._writer.close()
            self._writer = None

    async def _listen_to(self, reader: asyncio.StreamReader) -> None:
        """Take in what the process says until it hangs up; one that never listens is ended."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S) as limit:
                async for line in _lines(reader):
                    self._take(msgspec.json.decode(line))
                    if self.status.state is not GatewayState.STARTING:
                        limit.reschedule(None)
        except TimeoutError:
            self._problem = f"the gateway did not listen within {START_TIMEOUT_S:g} s"
            self._hint = f"its log: {self._log_path}"
            if self._process is not None:
                self._process.kill()

    async def _end_when_silent(self) -> None:
        """Kill it when it has listened and then says nothing any more; SIGKILL ends a stopped process too.

        While it drains it is watched as well: one that hangs would finish nothing, however long it is given.
        """
        await self._listened.wait()
        await self._pulse.until_silent()
        self._problem = f"it did not answer for {self._pulse.patience_s:g} s; killed"
        if self.status.state is GatewayState.DRAINING:
            self._become(GatewayState.DRAINING, self._problem)
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _take(self, message: dict[str, Any]) -> None:
        match message.get("event"):
            case "alive":
                self._pulse.beat()
            case "listening":
                self._port = int(message["port"])
                self._settings = {**self._settings, "port": self._port}
                self._listened.set()
                if not self._stopping.is_set():
                    self._become(GatewayState.LISTENING, self._last_end and f"started again: {self._last_end}")
            case "problem":
                self._problem = str(message.get("message", "unknown"))
                self._hint = str(message.get("hint", ""))
            case _:
                pass

    def _send(self, message: dict[str, object]) -> None:
        """Nothing once it drains: the end of what it reads was sent, and nothing can be added to that."""
        if self._writer is not None and not self._writer.is_closing() and not self._stopping.is_set():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    def _become(self, state: GatewayState, reason: str) -> None:
        process = self._process
        self.status = replace(
            self.status,
            state=state,
            reason=reason,
            since=self.status.since if state is self.status.state else time.time(),
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
