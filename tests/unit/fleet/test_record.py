import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.fleet import record
from remuda.fleet.errors import FleetError, FleetRunningError
from remuda.machine.errors import MachineError
from remuda.machine.processes import ProcessId, fetch_process_id, is_alive

SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]


@pytest.fixture
def sleeper() -> Iterator[ProcessId]:
    with subprocess.Popen(SLEEPER, start_new_session=True) as process:
        found = fetch_process_id(process.pid)
        assert found is not None
        yield found
        process.kill()


def test_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    mine = record.describe_self("http://127.0.0.1:1", ("a.yaml",), {"gateway": ProcessId(5, 6)})
    record.write_record(tmp_path, mine)
    assert record.read_record(tmp_path) == mine
    assert is_alive(mine.process)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x"}', '{"pid": 1, "start_ticks": 2, "children": 3}'])
def test_a_record_that_cannot_be_read_counts_as_absent(tmp_path: Path, text: str) -> None:
    (tmp_path / record.RECORD_NAME).write_text(text)
    assert record.read_record(tmp_path) is None


def test_a_second_claim_is_refused_and_names_the_first(tmp_path: Path) -> None:
    with record.claim_home(tmp_path):
        record.write_record(tmp_path, record.describe_self("http://127.0.0.1:1", (), {}))
        assert record.is_claimed(tmp_path)
        with pytest.raises(FleetRunningError) as caught, record.claim_home(tmp_path):
            pass
    assert caught.value.message == f"a fleet is already running: process {os.getpid()} at http://127.0.0.1:1"
    assert not record.is_claimed(tmp_path)


def test_nothing_is_left_after_a_claim_that_failed(tmp_path: Path) -> None:
    with contextlib.suppress(FleetError), record.claim_home(tmp_path):
        record.write_record(tmp_path, record.describe_self("", (), {}))
        (tmp_path / record.SOCKET_NAME).touch()
        raise FleetError("the port is taken")
    assert sorted(path.name for path in tmp_path.iterdir()) == [record.LOCK_NAME]


def test_orphans_of_a_killed_fleet_are_killed(
    tmp_path: Path, sleeper: ProcessId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "ORPHAN_GRACE_S", 0.1)
    record.write_record(tmp_path, record.describe_self("", (), {"demo-0": sleeper}))
    with record.claim_home(tmp_path):
        assert not is_alive(sleeper)


def test_another_process_that_reuses_a_pid_is_left_alone(tmp_path: Path, sleeper: ProcessId) -> None:
    stale = ProcessId(sleeper.pid, sleeper.start_ticks - 1)
    record.write_record(tmp_path, record.describe_self("", (), {"demo-0": stale}))
    with record.claim_home(tmp_path):
        assert is_alive(sleeper)


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    code = f"""
import pathlib, signal
from remuda.fleet import record
with record.claim_home(pathlib.Path({str(tmp_path)!r})):
    print("claimed", flush=True)
    signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"claimed\n"
        assert record.is_claimed(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not record.is_claimed(tmp_path)


def test_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError) as caught, record.claim_home(tmp_path / "file" / "state"):
        pass
    assert "not a directory" in caught.value.message.lower()
    assert "REMUDA_HOME" in caught.value.hint


def test_folder_of_the_state_is_for_the_owner_alone(tmp_path: Path) -> None:
    with record.claim_home(tmp_path / "state"):
        assert (tmp_path / "state").stat().st_mode & 0o077 == 0
