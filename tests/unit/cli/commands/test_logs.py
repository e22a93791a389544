from pathlib import Path

import pytest

from remuda.cli import main
from remuda.cli.commands.logs import Tail, find_logs
from remuda.fleet.errors import FleetError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REMUDA_HOME", str(tmp_path))
    logs = tmp_path / "logs"
    logs.mkdir()
    for name in ("demo-0", "demo-1", "demo-big-0", "gateway"):
        (logs / f"{name}.log").write_text(f"first of {name}\nlast of {name}\n")
    return logs


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (None, ["demo-0", "demo-1", "demo-big-0", "gateway"]),
        ("demo", ["demo-0", "demo-1"]),
        ("demo-1", ["demo-1"]),
        ("gateway", ["gateway"]),
    ],
)
def test_a_name_means_a_model_an_engine_or_the_gateway(folder: Path, name: str | None, found: list[str]) -> None:
    assert [path.stem for path in find_logs(folder, name)] == found


def test_an_unknown_name_gets_the_list_of_logs(folder: Path) -> None:
    with pytest.raises(FleetError) as caught:
        find_logs(folder, "nope")
    assert str(caught.value) == "there is no log of nope\nhint: there are: demo-0, demo-1, demo-big-0, gateway"


def test_a_folder_without_logs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="there are no logs in"):
        find_logs(tmp_path / "nowhere", None)


def test_several_logs_are_labelled_and_one_is_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run_command(["logs", "demo", "-n", "1"]) == 0
    assert capsys.readouterr().out == "demo-0 | last of demo-0\ndemo-1 | last of demo-1\n"
    assert main.run_command(["logs", "gateway", "-n", "5"]) == 0
    assert capsys.readouterr().out == "first of gateway\nlast of gateway\n"


def test_following_survives_rotation_and_truncation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "demo-0.log"
    tail = Tail(path, "")
    tail.show_last(0)
    assert not tail.show_new()
    with path.open("a") as log:
        log.write("half a ")
    tail.show_new()
    with path.open("a") as log:
        log.write("line\n")
    tail.show_new()
    path.rename(folder / "demo-0.log.1")
    path.write_text("rotated\n")
    while tail.show_new():
        pass
    path.write_text("cut\n")
    while tail.show_new():
        pass
    tail.close()
    assert capsys.readouterr().out == "half a line\nrotated\ncut\n"
