"""The fleet's control socket: `status` and `down` ask, the fleet answers, in JSON lines over a unix socket (mode 0600).

A connection carries one request. The fleet answers {"ask": "status"} with one snapshot, and {"ask": "down", "cut":
false} with its events until it is gone. The module holds both sides, server and client, and knows no engine or gateway.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from remuda import __version__
from remuda.fleet.errors import FleetAbsentError, FleetError
from remuda.fleet.record import SOCKET_NAME, is_claimed, read_record
from remuda.fleet.reporting import events
from remuda.fleet.reporting.snapshot import FleetSnapshot

ANSWER_TIMEOUT_S = 10.0  # an answer takes milliseconds, or 2 s with a hung engine; a slower fleet hangs itself
_LINE_LIMIT_BYTES = 1 << 20
_START_HINT = "start one with `remuda up`"


class ControlledFleet(Protocol):
    """What the control socket may ask of the fleet."""

    async def describe(self) -> FleetSnapshot:
        """The fleet now."""
        ...

    def request_stop(self, reason: str, *, cut: bool) -> None:
        """Stop when running requests are finished or, with `cut`, at once."""
        ...

    def follow(self) -> AsyncIterator[events.AnyEvent]:
        """Events from now until the fleet is gone."""
        ...


@contextlib.contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    # The path of a unix socket has at most 107 bytes; through /proc/self/fd the path of every folder is short.
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET_NAME}"
    finally:
        os.close(handle)


def listen(folder: Path) -> socket.socket:
    """A listening control socket in `folder`, which the caller has claimed."""
    (folder / SOCKET_NAME).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with _short_path(folder) as path:
            listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(16)
    return listener


async def serve(listener: socket.socket, fleet: ControlledFleet) -> asyncio.Server:
    """Answer on `listener` until the returned server is closed."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, ValueError):
                question = json.loads(await reader.readline())
                await _answer(question if isinstance(question, dict) else {}, writer, fleet)
        finally:
            writer.close()

    return await asyncio.start_unix_server(answer, sock=listener, limit=_LINE_LIMIT_BYTES)


async def _answer(question: dict[str, object], writer: asyncio.StreamWriter, fleet: ControlledFleet) -> None:
    if question.get("ask") == "status":
        writer.write(msgspec.json.encode(await fleet.describe()) + b"\n")
        await writer.drain()
    if question.get("ask") == "down":
        following = fleet.follow()
        fleet.request_stop("`remuda down`", cut=bool(question.get("cut")))
        async for event in following:
            writer.write(events.render_line(event))
            await writer.drain()


def ask_status(folder: Path) -> FleetSnapshot:
    """The snapshot of the running fleet; raises FleetAbsentError when no fleet runs."""
    with _connect(folder) as connection, _explained(folder), connection.makefile("rb") as answer:
        connection.sendall(b'{"ask": "status"}\n')
        if not (line := answer.readline()):
            raise _absence(folder)
        return msgspec.json.decode(line, type=FleetSnapshot)


def ask_down(folder: Path, *, cut: bool) -> Iterator[events.AnyEvent]:
    """Tell the fleet to stop, and yield its events until it is gone. Raises FleetError when it does not answer."""
    with _connect(folder) as connection, _explained(folder), connection.makefile("rb") as answer:
        connection.sendall(json.dumps({"ask": "down", "cut": cut}).encode() + b"\n")
        while line := answer.readline():
            yield events.parse_line(line)
            # The fleet has read the request. A drain may take long; a cut may not.
            connection.settimeout(ANSWER_TIMEOUT_S if cut else None)


@contextlib.contextmanager
def _connect(folder: Path) -> Iterator[socket.socket]:
    if not is_claimed(folder):
        raise _absence(folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_TIMEOUT_S)
        try:
            with _short_path(folder) as path:
                connection.connect(path)
        except OSError as error:
            raise _absence(folder) from error
        yield connection


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (TimeoutError, ConnectionError) as error:
        raise _absence(folder) from error
    except msgspec.DecodeError as error:
        raise FleetError(
            f"this Remuda ({__version__}) cannot read the answer of the fleet that runs: {error}",
            "another version of Remuda started it: use that one, or `remuda down --cut`",
        ) from error


def _absence(folder: Path) -> FleetError:
    """Why there is no answer."""
    record = read_record(folder)
    if is_claimed(folder):
        who = f" (process {record.pid})" if record else ""
        return FleetError(
            f"the fleet{who} runs but does not answer", "wait a moment; `remuda down --cut` ends it at once"
        )
    if record is None:
        return FleetAbsentError("no fleet is running", _START_HINT)
    return FleetAbsentError(f"the fleet that served {record.url} is gone: process {record.pid} ended", _START_HINT)
