import asyncio
import contextlib
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from remuda.fleet import control, record
from remuda.fleet.errors import FleetAbsentError, FleetError
from remuda.fleet.reporting import events
from remuda.fleet.reporting.snapshot import FleetSnapshot, GatewaySnapshot

SNAPSHOT = FleetSnapshot(
    version="0",
    phase="serving",
    pid=1,
    started_at=2.0,
    files=("a.yaml",),
    gateway=GatewaySnapshot(state="listening", reason="", url="http://127.0.0.1:1", auth="open"),
    engines=(),
)


class StoppableFleet:
    """A fleet that records requests to stop."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []

    async def describe(self) -> FleetSnapshot:
        return SNAPSHOT

    def request_stop(self, reason: str, *, cut: bool = False) -> None:
        self.asked.append((reason, cut))

    async def follow(self) -> AsyncIterator[events.AnyEvent]:
        yield events.Stopping(reason="asked")
        yield events.Stopped()


@contextlib.asynccontextmanager
async def serving(folder: Path, fleet: StoppableFleet) -> AsyncIterator[None]:
    with record.claim_home(folder):
        server = await control.serve(control.listen(folder), fleet)
        yield
        server.close()


def long_folder(tmp_path: Path) -> Path:
    return tmp_path / ("x" * 120) / "state"


async def test_status_is_answered_even_from_a_folder_with_a_long_name(tmp_path: Path) -> None:
    folder = long_folder(tmp_path)
    async with serving(folder, StoppableFleet()):
        assert await asyncio.to_thread(control.ask_status, folder) == SNAPSHOT


async def test_down_yields_events_until_the_fleet_is_gone(tmp_path: Path) -> None:
    fleet = StoppableFleet()
    async with serving(tmp_path, fleet):
        told = await asyncio.to_thread(lambda: list(control.ask_down(tmp_path, cut=True)))
    assert told == [events.Stopping(reason="asked"), events.Stopped()]
    assert fleet.asked == [("`remuda down`", True)]


async def test_the_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    async with serving(tmp_path, StoppableFleet()):
        assert stat.S_IMODE((tmp_path / record.SOCKET_NAME).stat().st_mode) == 0o600


async def test_nonsense_on_the_socket_is_not_answered_and_ends_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, StoppableFleet()):
        for nonsense in (b"\n", b"{\n", b'{"ask": "dance"}\n', b"[1]\n", b"\xff\xfe\n", b""):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / record.SOCKET_NAME))
            writer.write(nonsense)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        assert await asyncio.to_thread(control.ask_status, tmp_path) == SNAPSHOT


def test_a_missing_fleet_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FleetAbsentError) as caught:
        control.ask_status(tmp_path)
    assert str(caught.value) == "no fleet is running\nhint: start one with `remuda up`"


def test_a_fleet_that_was_killed_is_reported(tmp_path: Path) -> None:
    record.write_record(tmp_path, record.describe_self("http://127.0.0.1:1", (), {}))
    with pytest.raises(FleetAbsentError) as caught:
        control.ask_status(tmp_path)
    assert caught.value.message == f"the fleet that served http://127.0.0.1:1 is gone: process {os.getpid()} ended"


def test_a_fleet_that_does_not_answer_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ANSWER_TIMEOUT_S", 0.05)
    with record.claim_home(tmp_path), control.listen(tmp_path), pytest.raises(FleetError) as caught:
        control.ask_status(tmp_path)
    assert caught.value.message == "the fleet runs but does not answer"


def answer_once(folder: Path, answer: bytes) -> threading.Thread:
    """A fleet that sends this answer once."""
    listener = control.listen(folder)

    def serve() -> None:
        connection, _ = listener.accept()
        with listener, connection:
            connection.recv(100)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize("answer", [b'{"phase": "a word of the next version"}\n', b"{"], ids=["other", "half"])
def test_an_answer_of_another_version_is_reported(tmp_path: Path, answer: bytes) -> None:
    with record.claim_home(tmp_path):
        thread = answer_once(tmp_path, answer)
        with pytest.raises(FleetError) as caught:
            control.ask_status(tmp_path)
        thread.join()
    assert "cannot read" in caught.value.message
    assert "another version" in caught.value.hint


def test_a_fleet_that_dies_while_it_is_asked_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reset(*_: object) -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    with record.claim_home(tmp_path), control.listen(tmp_path):
        monkeypatch.setattr(socket.socket, "sendall", reset)
        with pytest.raises(FleetError, match="does not answer"):
            control.ask_status(tmp_path)
        with pytest.raises(FleetError, match="does not answer"):
            list(control.ask_down(tmp_path, cut=False))
