"""The launcher and the fleet in its own session, over a socketpair."""

import socket
import subprocess
from pathlib import Path

import pytest

from remuda.fleet import detach
from remuda.fleet.errors import FleetError
from remuda.fleet.reporting import events


def test_a_launcher_that_does_not_read_does_not_block_the_fleet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(detach, "SEND_TIMEOUT_S", 0.05)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        report = detach.Report(theirs)
        for _ in range(300):
            report.emit(events.Note(text="x" * 10_000))
        received = bytearray()
        while chunk := ours.recv(1 << 16):
            received += chunk
    assert 0 < len(received) < 300 * 10_000
    assert capsys.readouterr().err.count('xxx"}\n') == 300


def test_a_fleet_that_goes_on_without_its_launcher_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detach, "SEND_TIMEOUT_S", 0.05)
    ours, theirs = socket.socketpair()
    theirs.close()
    with subprocess.Popen(["sleep", "600"]) as process:
        with pytest.raises(FleetError, match="the fleet goes on"):
            list(detach.Launch(process, ours, Path("log")).follow())
        process.kill()
    ours.close()


def test_a_fleet_that_ended_is_reported_with_its_log() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with subprocess.Popen(["sh", "-c", "exit 3"]) as process, pytest.raises(FleetError) as caught:
        list(detach.Launch(process, ours, Path("fleet.log")).follow())
    ours.close()
    assert caught.value.message == "the fleet ended with status 3 before it was ready"
    assert "fleet.log" in caught.value.hint
