"""`remuda up` shows its plan first, and a Ctrl-C stops `up -d` at any time before it is ready."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from remuda.cli.commands import up
from remuda.errors import RemudaError
from remuda.fleet import detach
from remuda.fleet.reporting import events

FILE = "apiVersion: remuda.dev/v1alpha1\nkind: Model\nmetadata: {name: m}\nspec:\n  source: demo://remuda-demo\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REMUDA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


class FakeLaunch:
    """A fleet that starts. It records the calls that it gets."""

    def __init__(self, pressed_in_follow: bool = False) -> None:
        self.told: list[str] = []
        self._pressed_in_follow = pressed_in_follow

    def follow(self) -> Iterator[events.AnyEvent]:
        self.told.append("follow")
        if self._pressed_in_follow:
            os.kill(os.getpid(), signal.SIGINT)
        yield events.Note(text="on its way")

    def interrupt(self) -> None:
        self.told.append("interrupt")

    def wait(self) -> None:
        self.told.append("wait")


def press(monkeypatch: pytest.MonkeyPatch, launch: FakeLaunch, *, while_starting: bool) -> int:
    def start(*_: object) -> FakeLaunch:
        if while_starting:
            os.kill(os.getpid(), signal.SIGINT)
        return launch

    monkeypatch.setattr(detach, "launch", start)
    done = CliRunner().invoke(up.command, ["-d"], standalone_mode=False)
    assert done.exception is None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return int(done.return_value)


def test_a_fleet_that_is_ready_keeps_running(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = FakeLaunch()
    assert (press(monkeypatch, launch, while_starting=False), launch.told) == (0, ["follow"])


def test_ctrl_c_while_the_fleet_process_starts_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = FakeLaunch()
    assert (press(monkeypatch, launch, while_starting=True), launch.told) == (130, ["interrupt", "wait"])


def test_ctrl_c_before_the_fleet_is_ready_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = FakeLaunch(pressed_in_follow=True)
    assert (press(monkeypatch, launch, while_starting=False), launch.told) == (130, ["follow", "interrupt", "wait"])


def test_a_fleet_that_cannot_start_restores_the_handling_of_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> FakeLaunch:
        raise RemudaError("no")

    monkeypatch.setattr(detach, "launch", refuse)
    assert isinstance(CliRunner().invoke(up.command, ["-d"]).exception, RemudaError)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_warnings_about_a_file_have_their_position_and_appear_once(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(FILE + "  rollout: {maxSurge: 2}\n")
    done = CliRunner().invoke(up.command, ["--dry-run", "m.yaml"])
    told = [line for line in done.stderr.splitlines() if "warning" in line]
    assert told == ["m.yaml:6:12: warning: spec.rollout: has no effect on one machine, only on Kubernetes"]
