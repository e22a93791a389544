"""`remuda engine`: its lists, its questions before it deletes, and installations that are ended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from remuda.cli import output
from remuda.cli.commands import engine
from remuda.cli.main import run_command
from remuda.cli.signals import exit_on_signals
from remuda.engine.errors import InstallError
from remuda.engine.install.installation import environment_path, python_version, write_marker
from remuda.fleet import record
from remuda.fleet.errors import FleetError
from remuda.machine import processes
from remuda.machine.home import Home

FAKE_UV = Path(__file__).parents[2] / "engine" / "install" / "fake_uv.sh"
GIB = 1024**3


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("REMUDA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REMUDA_UV", str(FAKE_UV))
    monkeypatch.setenv("FAKE_UV_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("FAKE_UV_PYTHON", python_version())
    return Home.from_environment()


def make_environment(home: Home, *, is_current: bool = True) -> Path:
    path = environment_path(home, "0.32.0", "cpu-pypi")
    assert path is not None
    if not is_current:
        path = path.with_name(path.name[:-8] + "0" * 8)
    (path / "lib" / f"python{python_version()}" / "site-packages" / "vllm").mkdir(parents=True)
    (path / "bin").mkdir()
    (path / "bin" / "python").symlink_to(sys.executable)
    write_marker(path, "0.32.0", "cpu-pypi", 5 * 10**9)
    return path


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(engine.command, list(arguments), input=text)


def test_list_shows_what_is_in_use_and_how_to_remove_the_rest(home: Home) -> None:
    older, newer = make_environment(home, is_current=False), make_environment(home)
    shown = run("list")
    assert [line.split()[0] + " " + " ".join(line.split()[-3:]) for line in shown.stdout.splitlines()[1:]] == [
        f"{older.name} 5.0 GB superseded",
        f"{newer.name} 5.0 GB current",
    ]
    assert shown.stderr == (
        "1 engine that is no longer used takes 5.0 GB; `remuda engine remove --superseded` deletes it\n"
    )
    listed = json.loads(run("list", "--json").stdout)
    assert [(one["state"], one["current"], one["size_bytes"]) for one in listed] == [
        ("superseded", False, 5 * 10**9),
        ("current", True, 5 * 10**9),
    ]


def test_nothing_installed_says_how_to_install() -> None:
    assert run("list").stdout == (
        "vLLM is not installed. `remuda engine install` installs it, and so does `remuda up`.\n"
    )


def test_install_shows_the_size_of_older_environments(home: Home) -> None:
    make_environment(home, is_current=False)
    done = run("install", "--variant", "cpu-pypi")
    assert done.stdout == f"{environment_path(home, '0.32.0', 'cpu-pypi')}\n"
    assert done.stderr.endswith("takes 5.0 GB; `remuda engine remove --superseded` deletes it\n")


def test_superseded_engines_are_removed_and_the_current_one_stays(home: Home) -> None:
    older, newer = make_environment(home, is_current=False), make_environment(home)
    done = run("remove", "--superseded", "--yes")
    assert (done.stdout, done.stderr, done.exit_code) == (f"removed {older} (5.0 GB)\n", "", 0)
    assert (older.exists(), newer.exists()) == (False, True)
    assert run("remove", "--superseded").stderr == "nothing to remove\n"


def test_without_a_terminal_remove_needs_confirmation_by_an_option(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_environment(home)
    monkeypatch.setattr(output, "is_terminal", lambda _: False)
    assert run_command(["engine", "remove", path.name]) == 1
    assert capsys.readouterr().err == (
        f"error: removing {path.name} (5.0 GB) needs confirmation, and there is no terminal to ask on\n"
        "hint: add --yes to confirm\n"
    )
    assert path.is_dir()
    assert run("remove", "all", "--yes").exit_code == 0
    assert not path.exists()


@pytest.mark.parametrize(("answer", "stays"), [("n\n", True), ("\n", True), ("y\n", False)], ids=["no", "enter", "yes"])
def test_on_a_terminal_remove_asks_first(home: Home, monkeypatch: pytest.MonkeyPatch, answer: str, stays: bool) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda stream: stream is sys.stdin)
    path = make_environment(home)
    done = run("remove", path.name, text=answer)
    assert done.stderr.startswith(f"remove {path.name} (5.0 GB)? [y/N]: ")
    assert path.exists() is stays


def test_several_environments_are_listed_before_remove_asks(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda stream: stream is sys.stdin)
    names = [make_environment(home, is_current=is_current).name for is_current in (False, True)]
    done = run("remove", "all", text="n\n")
    told = [f"{names[0]} (5.0 GB)", f"{names[1]} (5.0 GB)", "remove these 2 engines (10.0 GB)? [y/N]: n"]
    assert done.stderr.splitlines()[:3] == told


def test_when_one_of_several_is_in_use_none_is_removed(home: Home) -> None:
    older, newer = make_environment(home, is_current=False), make_environment(home)
    command = [newer / "bin" / "python", "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdout.readline()
        refused = run("remove", "all", "--yes")
        running.stdin.close()
    assert isinstance(refused.exception, InstallError)
    assert refused.exception.message == f"{newer.name} is in use by process {running.pid}"
    assert (older.exists(), newer.exists()) == (True, True)


def test_an_environment_that_a_fleet_may_use_stays_while_no_engine_runs(home: Home) -> None:
    older, newer = make_environment(home, is_current=False), make_environment(home)
    with record.claim_home(home.state):
        refused = run("remove", newer.name, "--yes")
        assert run("remove", "--superseded", "--yes").exit_code == 0
    assert isinstance(refused.exception, FleetError)
    assert refused.exception.message == f"a fleet runs on this machine and starts engines from {newer.name}"
    assert (older.exists(), newer.exists()) == (False, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["remove"], "error: give either NAME, `all` or --superseded\n"),
        (["remove", "x", "--superseded"], "error: give either NAME, `all` or --superseded\n"),
        (["remove", "../../etc"], "error: there is no engine environment '../../etc'\nhint: installed: vllm-0.32.0-"),
    ],
    ids=["nothing", "both", "unknown"],
)
def test_a_wrong_choice_is_reported(
    home: Home, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_environment(home)
    assert run_command(["engine", *arguments]) != 0
    assert capsys.readouterr().err.startswith(message)
    assert path.is_dir()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_an_installation_that_a_signal_ends_leaves_no_installer_and_no_folder(
    home: Home, tmp_path: Path, number: signal.Signals
) -> None:
    process, installer = start_installation(tmp_path, FAKE_UV_SLEEP="600")
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    assert processes.find_group(installer) == []
    assert [entry.name for entry in home.engines.iterdir() if entry.is_dir()] == []


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGHUP), (signal.SIGHUP, signal.SIGTERM)])
def test_a_second_signal_of_another_kind_does_not_interrupt_the_deletion(numbers: tuple[int, int]) -> None:
    before = [signal.getsignal(number) for number in numbers]
    cleared_up: list[bool] = []

    def install() -> None:
        try:
            signal.raise_signal(numbers[0])
        finally:
            signal.raise_signal(numbers[1])
            cleared_up.append(True)

    with pytest.raises(SystemExit) as ended, exit_on_signals():
        install()
    assert (ended.value.code, cleared_up) == (128 + numbers[0], [True])
    assert [signal.getsignal(number) for number in numbers] == before


def test_an_installation_that_is_killed_ends_its_installer_and_the_next_one_deletes_its_folder(
    home: Home, tmp_path: Path
) -> None:
    process, installer = start_installation(tmp_path, FAKE_UV_HANGS="yes")
    left = [entry.name for entry in home.engines.iterdir() if entry.is_dir()]
    process.kill()
    process.wait(20)
    end_s = time.monotonic() + 20
    while processes.find_group(installer):  # the kernel tells nobody
        assert time.monotonic() < end_s
        time.sleep(0.01)
    assert [name.startswith(".building-") for name in left] == [True]
    path = environment_path(home, "0.32.0", "cpu-pypi")
    assert run("install", "--variant", "cpu-pypi").stdout == f"{path}\n"
    assert [entry for entry in home.engines.iterdir() if entry.is_dir()] == [path]


def start_installation(tmp_path: Path, **behaviour: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start the command, wait until its installer runs, and return it with the installer's process group."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    env = {**os.environ, **behaviour, "FAKE_UV_TELLS": str(pipe)}
    command = [sys.executable, "-m", "remuda", "engine", "install", "--variant", "cpu-pypi"]
    # As from a shell in front of a person: what is started with `&` or `nohup` ignores some of these.
    heeded = {"preexec_fn": lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGHUP)]}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **heeded)
    return process, int(pipe.read_text())
