"""The list of environments and their removal. The environments are built with a double of uv."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from remuda.engine.errors import InstallError
from remuda.engine.install import installation, inventory
from remuda.engine.install.installation import lock_environment, measure_bytes, python_version
from remuda.engine.install.installer import install_engine
from remuda.engine.install.inventory import list_environments, remove_environment
from remuda.machine import processes
from remuda.machine.home import Home

FAKE_UV = Path(__file__).with_name("fake_uv.sh")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("REMUDA_UV", str(FAKE_UV))
    monkeypatch.setenv("FAKE_UV_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("FAKE_UV_PYTHON", python_version())
    return Home.from_environment({"REMUDA_HOME": str(tmp_path / "home")})


@pytest.fixture
def current(home):
    return install_engine(home, variant="cpu-pypi").path


@pytest.fixture
def superseded(current):
    """The same environment under the name that another lock file gives it."""
    older = current.with_name(current.name[:-8] + "0" * 8)
    current.rename(older)
    return older


def states(home: Home) -> dict[str, str]:
    return {environment.name: environment.state for environment in list_environments(home)}


def test_the_environment_of_the_present_lock_file_is_current_and_any_other_is_superseded(home, superseded):
    newer = install_engine(home, variant="cpu-pypi")
    assert states(home) == {superseded.name: "superseded", newer.id: "current"}


def test_a_damaged_environment_is_broken_and_its_size_is_measured(home, current):
    (current / "remuda-engine.json").unlink()
    (current / "weight").write_bytes(bytes(100_000))
    (found,) = list_environments(home)
    assert (found.state, found.is_current) == ("broken", True)
    assert found.size_bytes == measure_bytes(current) >= 100_000


def test_unfinished_environments_are_listed_unless_they_are_being_built(home, current):
    abandoned = current.with_name(f".building-{current.name}-1")
    abandoned.mkdir()
    assert states(home) == {current.name: "current", abandoned.name: "broken"}
    with lock_environment(current, pytest.fail):
        assert states(home) == {current.name: "current"}


def test_removal_leaves_nothing(home, current):
    for kind in ("building", "removed"):
        current.with_name(f".{kind}-{current.name}-1").mkdir()
    for environment in list_environments(home):
        remove_environment(environment)
    assert list_environments(home) == ()
    assert [entry for entry in home.engines.iterdir() if entry.is_dir()] == []


def test_removal_leaves_unfinished_environments_with_a_longer_name(home, current):
    shorter = current.with_name(current.name[: current.name.index("-py")])
    shorter.mkdir()
    building = current.with_name(f".building-{current.name}-1")
    building.mkdir()
    with lock_environment(current, pytest.fail):
        (found,) = [environment for environment in list_environments(home) if environment.path == shorter]
        remove_environment(found)
    assert (shorter.exists(), building.exists()) == (False, True)


def test_removing_an_environment_that_is_a_link_removes_only_the_link(home, current, tmp_path):
    elsewhere = current.rename(tmp_path / "elsewhere")
    current.symlink_to(elsewhere)
    (environment,) = list_environments(home)
    remove_environment(environment)
    assert list_environments(home) == ()
    assert not os.path.lexists(current)
    assert (elsewhere / "remuda-engine.json").is_file()


def test_an_environment_that_cannot_be_deleted_completely_is_an_error(home, current, monkeypatch):
    (environment,) = list_environments(home)
    monkeypatch.setattr(installation.shutil, "rmtree", lambda *_, **__: None)  # as for files of another user
    with pytest.raises(InstallError, match=r"\.removed-.* could not be deleted completely"):
        remove_environment(environment)
    monkeypatch.undo()
    (environment,) = list_environments(home)
    assert environment.path != current
    remove_environment(environment)
    assert list_environments(home) == ()


def test_a_tree_that_is_being_deleted_can_be_measured(tmp_path, monkeypatch):
    (tmp_path / "stays").write_bytes(bytes(8192))
    size_bytes = measure_bytes(tmp_path)
    monkeypatch.setattr(installation.os, "walk", lambda _: [(str(tmp_path), [], ["gone", "stays"])])
    assert measure_bytes(tmp_path) == size_bytes > 0


def test_an_environment_that_is_being_installed_is_not_removed(home, current):
    (environment,) = list_environments(home)
    with (
        lock_environment(current, pytest.fail),
        pytest.raises(InstallError, match="being installed or removed right now"),
    ):
        remove_environment(environment)
    assert current.is_dir()


@pytest.mark.parametrize("way", ["program", "library"])
def test_an_environment_in_use_is_not_removed(home, current, way):
    program = current / "bin" / "python"
    program.unlink()
    program.symlink_to(sys.executable)
    library = current / "library.so"
    library.write_bytes(bytes(4096))
    name = program if way == "program" else sys.executable
    code = f"import mmap; f = open({str(library)!r}, 'r+b'); m = mmap.mmap(f.fileno(), 0); print(flush=True); input()"
    command = [name, "-c", "print(flush=True); input()" if way == "program" else code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as engine:
        engine.stdout.readline()
        (environment,) = list_environments(home)
        with pytest.raises(InstallError, match=f"in use by process {engine.pid}"):
            remove_environment(environment)
        engine.stdin.close()
    remove_environment(environment)
    assert not current.exists()


def test_an_environment_behind_a_link_is_in_use_under_both_names(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    program = tmp_path / "real" / "python"
    program.symlink_to(sys.executable)
    command = [program, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as engine:
        engine.stdout.readline()
        assert [processes.find_users(tmp_path / name) for name in ("real", "link")] == [[engine.pid]] * 2
        engine.stdin.close()


def test_a_folder_that_cannot_be_read_is_named():
    endless = Home.from_environment({"REMUDA_HOME": "/" + "x" * 300})
    with pytest.raises(InstallError, match="File name too long"):
        list_environments(endless)


def test_files_that_are_also_in_uvs_cache_are_measured_apart(tmp_path):
    for name in ("own", "linked"):
        (tmp_path / "tree").mkdir(exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(bytes(8192))
    os.link(tmp_path / "tree" / "linked", tmp_path / "cache")
    assert measure_bytes(tmp_path / "tree") == 2 * measure_bytes(tmp_path / "tree", only_linked=True) > 0


def test_an_environment_that_cannot_be_deleted_is_named(home, current, monkeypatch):
    (environment,) = list_environments(home)

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(inventory, "remove_tree", refuse)
    with pytest.raises(InstallError, match="cannot be deleted: Permission denied"):
        remove_environment(environment)
