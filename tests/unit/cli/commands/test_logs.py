"""`remuda logs` labels the lines of several logs."""

from pathlib import Path

import pytest

from remuda.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REMUDA_HOME", str(tmp_path))
    logs = tmp_path / "logs"
    logs.mkdir()
    for name in ("demo-0", "demo-1", "demo-big-0", "gateway"):
        (logs / f"{name}.log").write_text(f"first of {name}\nlast of {name}\n")
    return logs


def test_several_logs_are_labelled_and_one_is_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run_command(["logs", "demo", "-n", "1"]) == 0
    assert capsys.readouterr().out == "demo-0 | last of demo-0\ndemo-1 | last of demo-1\n"
    assert main.run_command(["logs", "gateway", "-n", "5"]) == 0
    assert capsys.readouterr().out == "first of gateway\nlast of gateway\n"
