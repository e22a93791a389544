"""The folder of an engine and its names in /dev/shm exist while it runs, and are removed however it ends."""

import os
import shutil
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from remuda.engine import scratch
from remuda.engine.errors import EngineError
from remuda.engine.scratch import SHM_PREFIX_VARIABLE, own_scratch

SHM = Path("/dev/shm")


@pytest.fixture(autouse=True)
def no_tmpdir(monkeypatch):
    monkeypatch.delenv("TMPDIR", raising=False)


@pytest.fixture
def base():
    """A short path; pytest's own paths are too long for sockets."""
    path = Path("/tmp") / uuid.uuid4().hex[:8]
    yield path
    shutil.rmtree(path, ignore_errors=True)


def bind_socket(folder: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/{uuid.uuid4()}")


def test_the_files_and_semaphores_of_an_engine_are_removed_with_its_folder(base):
    with own_scratch(base / "run") as places:
        folder = Path(places["VLLM_RPC_BASE_PATH"])
        assert folder.parent == base / "run"
        assert places["TMPDIR"] == str(folder)
        assert (folder.stat().st_mode & 0o077, folder.parent.stat().st_mode & 0o077) == (0, 0)
        bind_socket(str(folder))
        names = [SHM / f"sem.{places[SHM_PREFIX_VARIABLE]}sem-x", SHM / f"{places[SHM_PREFIX_VARIABLE]}abc"]
        for name in names:
            name.touch()
    assert list((base / "run").iterdir()) == []
    assert [name for name in names if name.exists()] == []


def test_engines_do_not_touch_each_others_folders(base):
    with own_scratch(base) as one:
        with own_scratch(base) as other:
            assert set(one.values()).isdisjoint(other.values())
        assert Path(one["TMPDIR"]).is_dir()


def leave_behind(base: Path) -> tuple[Path, Path]:
    """The folder of a supervisor that was killed, and a semaphore of its engine."""
    code = "import os, sys; from pathlib import Path; from remuda.engine.scratch import own_scratch\n"
    code += "scratch = own_scratch(Path(sys.argv[1])); print(scratch.__enter__()['TMPDIR'], flush=True); os._exit(1)"
    told = subprocess.run([sys.executable, "-c", code, base], capture_output=True, text=True, check=False).stdout
    left = Path(told.strip())
    assert left.is_dir()
    semaphore = SHM / f"sem.{left.name}-sem-x"
    semaphore.touch()
    return left, semaphore


def test_the_next_start_of_any_engine_removes_the_folder_of_a_killed_supervisor(base):
    left, semaphore = leave_behind(base)
    with own_scratch(base) as places:
        assert not left.exists()
        assert not semaphore.exists()
        assert Path(places["TMPDIR"]).is_dir()


def test_the_folder_of_another_users_killed_supervisor_stays(base, monkeypatch):
    """In /tmp anybody can make a folder with the name of a running engine's folder."""
    left, semaphore = leave_behind(base)
    me = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr("remuda.engine.scratch.os.geteuid", lambda: me + 1)
        with own_scratch(base):
            assert left.is_dir()
            assert semaphore.exists()
    with own_scratch(base):
        assert not semaphore.exists()


def test_special_characters_in_a_name_match_only_themselves(base):
    with own_scratch(base) as living:
        name = SHM / f"{living[SHM_PREFIX_VARIABLE]}abc"
        name.touch()
        odd = base / "remuda-engine-*"
        odd.mkdir()
        (odd / "lock").touch()
        with own_scratch(base):
            assert not odd.exists()
            assert name.exists()


def test_a_folder_without_its_lock_yet_is_not_removed_by_another_start(base, monkeypatch):
    def lock_late(descriptor: int) -> bool:
        monkeypatch.undo()
        with own_scratch(base):
            return scratch._try_lock(descriptor)

    monkeypatch.setattr(scratch, "_try_lock", lock_late)
    with own_scratch(base) as places:
        assert Path(places["TMPDIR"]).is_dir()


def test_on_a_file_system_without_locks_no_folder_is_removed(base, monkeypatch):
    monkeypatch.setattr(scratch, "_try_lock", lambda _: False)
    with own_scratch(base) as places:
        monkeypatch.undo()
        with own_scratch(base):
            assert Path(places["TMPDIR"]).is_dir()


def test_the_users_own_folder_for_temporary_files_is_used(base, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(base / "scratch"))
    with own_scratch(base / "run") as places:
        assert Path(places["TMPDIR"]).parent == base / "scratch"
    assert list((base / "scratch").iterdir()) == []


@pytest.mark.parametrize(("length", "is_taken"), [(47, True), (48, False)])
def test_a_folder_whose_path_is_too_long_for_sockets_is_replaced_by_tmp(base, length, is_taken):
    preferred = base / ("x" * (length - len(str(base)) - 1))
    with own_scratch(preferred) as places:
        bind_socket(places["TMPDIR"])
        assert Path(places["TMPDIR"]).parent == (preferred if is_taken else Path("/tmp"))
    assert not Path(places["TMPDIR"]).exists()


def test_a_folder_that_cannot_be_made_is_replaced_by_tmp(base):
    base.mkdir()
    (base / "file").touch()
    with own_scratch(base / "file") as places:
        assert Path(places["TMPDIR"]).parent == Path("/tmp")


def test_if_no_folder_can_be_made_the_error_names_the_last_one(base, monkeypatch):
    def refuse(**_: object) -> str:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("remuda.engine.scratch.tempfile.mkdtemp", refuse)
    with pytest.raises(EngineError, match="/tmp: No space left on device"), own_scratch(base):
        pass


def test_a_folder_without_room_for_its_lock_is_an_engine_error(base, monkeypatch):
    monkeypatch.setattr("remuda.engine.scratch.tempfile.mkdtemp", lambda **_: str(base / "no" / "place"))
    with pytest.raises(EngineError, match="/tmp: No such file"), own_scratch(base):
        pass


@pytest.mark.parametrize("tmpdir", ["/" + "x" * 300, "/" + "x" * 5000, "/proc/self/mem", "a folder/of/spaces"])
def test_an_unusable_tmpdir_does_not_prevent_a_start(base, monkeypatch, tmpdir):
    base.mkdir()
    monkeypatch.chdir(base)
    monkeypatch.setenv("TMPDIR", tmpdir)
    with own_scratch(base / "run") as places:
        bind_socket(places["TMPDIR"])
