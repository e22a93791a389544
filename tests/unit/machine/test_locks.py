"""Locks between processes: one holder at a time, and free when the holder has ended."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.machine import locks
from remuda.machine.locks import hold_lock, is_locked

HOLDER = """
import pathlib, signal, sys
from remuda.machine.locks import hold_lock
with hold_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""
WAITER = """
import pathlib, sys
from remuda.machine.locks import hold_lock
try:
    with hold_lock(pathlib.Path(sys.argv[1]), lambda: print("waiting", flush=True)):
        print("held", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_lock_is_held_while_its_block_runs_and_free_afterwards(path: Path) -> None:
    assert not is_locked(path)
    with hold_lock(path):
        assert is_locked(path)
    assert path.exists()
    assert not is_locked(path)


def test_a_lock_of_another_process_is_seen_and_refused(path: Path, holder: subprocess.Popen[bytes]) -> None:
    assert is_locked(path)

    def refuse() -> None:
        raise RuntimeError("held by another process")

    with pytest.raises(RuntimeError, match="held by another process"), hold_lock(path, refuse):
        pass


def test_a_waiting_process_calls_on_wait_once_and_gets_the_lock_of_a_killed_holder(
    path: Path, holder: subprocess.Popen[bytes]
) -> None:
    told: list[str] = []

    def kill_the_holder() -> None:
        told.append("waiting")
        threading.Timer(0.05, holder.kill).start()

    with hold_lock(path, kill_the_holder):
        assert told == ["waiting"]
        assert holder.wait(10) == -signal.SIGKILL


def test_a_process_that_only_looks_at_a_lock_does_not_count_as_its_holder(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = os.open(path, os.O_CREAT | os.O_RDONLY)
    assert locks.try_lock(looking, shared=True)
    monkeypatch.setattr(locks.time, "sleep", lambda _: os.close(looking))

    def refuse() -> None:
        raise AssertionError("nobody holds the lock")

    with hold_lock(path, refuse):
        assert is_locked(path)


def test_ctrl_c_ends_the_wait_for_a_lock(path: Path, holder: subprocess.Popen[bytes]) -> None:
    command = [sys.executable, "-c", WAITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as waiter:
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == b"waiting\n"
        waiter.send_signal(signal.SIGINT)
        assert waiter.stdout.readline() == b"interrupted\n"
    assert is_locked(path)
