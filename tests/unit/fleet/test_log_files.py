"""Log files are found by the names of models and engines, and followed while they are written and rotated."""

from pathlib import Path

import pytest

from remuda.fleet.errors import FleetError
from remuda.fleet.log_files import LogReader, find_logs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("demo-0", "demo-1", "demo-big-0", "gateway"):
        (tmp_path / f"{name}.log").write_text(f"first of {name}\nlast of {name}\n")
    return tmp_path


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


def test_following_survives_rotation_and_truncation(folder: Path) -> None:
    path = folder / "demo-0.log"
    reader = LogReader(path)
    assert reader.read_last(0) == []
    assert reader.read_new() is None
    with path.open("a") as log:
        log.write("half a ")
    assert reader.read_new() == []
    with path.open("a") as log:
        log.write("line\n")
    assert reader.read_new() == ["half a line"]
    path.rename(folder / "demo-0.log.1")
    path.write_text("rotated\n")
    assert (reader.read_new(), reader.read_new(), reader.read_new()) == ([], ["rotated"], None)
    path.write_text("cut\n")
    assert (reader.read_new(), reader.read_new(), reader.read_new()) == ([], ["cut"], None)
    reader.close()
