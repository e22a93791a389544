"""The child that installs: its reports, and its end when it is cancelled."""

import asyncio
import errno
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from remuda.engine.errors import InstallError
from remuda.engine.install import worker
from remuda.engine.status import Progress
from remuda.machine import parent_death
from remuda.machine.home import Home

DEADLINE_S = 20.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("REMUDA_HOME", str(tmp_path))
    return Home.from_environment()


async def test_an_error_of_the_child_is_raised_in_the_parent(home: Home) -> None:
    with pytest.raises(InstallError) as caught:
        await worker.install(home, "0.0.1", "cpu", lambda _: None)
    assert "lock file for vLLM 0.0.1" in caught.value.message


async def test_a_missing_installer_is_reported(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMUDA_UV", "/nowhere/uv")
    with pytest.raises(InstallError, match="REMUDA_UV names /nowhere/uv"):
        await worker.install(home, "0.32.0", "cpu", lambda _: None)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancelled_installation_leaves_no_process_and_prints_nothing(
    times: int, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The installer hangs. Cancelling ends it and its parent, the child."""
    hanging = tmp_path / "uv"
    pid_file = tmp_path / "pid"
    hanging.write_text(f"#!{sys.executable}\nimport os, signal\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\n"
                       "print('started', flush=True)\nsignal.pause()\n")  # fmt: skip
    hanging.chmod(0o755)
    monkeypatch.setenv("REMUDA_UV", str(hanging))
    monkeypatch.setattr("shutil.disk_usage", lambda _: (0, 0, 1 << 50))
    began = asyncio.Event()
    told: list[Progress] = []

    def report(progress: Progress) -> None:
        told.append(progress)
        began.set()

    task = asyncio.create_task(worker.install(home, "0.32.0", "cpu", report))
    async with asyncio.timeout(DEADLINE_S):
        await began.wait()
        await asyncio.to_thread(wait_for_pid, pid_file)
    for _ in range(times):  # the second one while the child cleans up
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until_gone, read_pid(pid_file))
    assert capfd.readouterr().err == ""
    if times == 1:
        assert list_leftovers(home) == []


def test_a_second_signal_does_not_interrupt_the_cleanup() -> None:
    before = signal.signal(signal.SIGTERM, worker._stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def wait_for_pid(path: Path) -> None:
    """Wait until the installer runs; the caller bounds the wait."""
    while not read_pid(path):
        time.sleep(0.02)


def wait_until_gone(pid: int) -> None:
    """Wait until the kernel has ended a killed process."""
    deadline_s = time.monotonic() + DEADLINE_S
    while is_running(pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def read_pid(path: Path) -> int:
    text = path.read_text() if path.exists() else ""
    return int(text) if text else 0


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def list_leftovers(home: Home) -> list[str]:
    """Unfinished environments."""
    return [path.name for path in home.engines.iterdir() if not path.name.endswith(".lock")]


def test_an_error_of_the_operating_system_is_reported_by_the_child(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/lock")

    monkeypatch.setattr(worker, "install_engine", refuse)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    monkeypatch.setattr(parent_death, "die_with_parent", lambda _: None)
    assert worker.main({"version": "0.32.0", "variant": "cpu"}) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["error"] == "the engine cannot be installed: no space left on device: /tmp/lock"
    assert "free some space" in told["hint"]
