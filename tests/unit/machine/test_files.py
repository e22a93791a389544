"""Files that are replaced whole, and files that others append to."""

import os
from pathlib import Path

import pytest

from remuda.machine.files import bound_file, open_append, replace_file


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize(("public", "mode"), [(False, 0o600), (True, 0o644)], ids=["private", "public"])
def test_a_file_is_replaced_whole_and_readable_by_its_owner_or_by_all(
    tmp_path: Path, durable: bool, public: bool, mode: int
) -> None:
    path = tmp_path / "file"
    for content in (b"old", b"new"):
        replace_file(path, content, durable=durable, public=public)
        assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == mode
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left on device"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_log_is_created_with_its_folder_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "gateway.log"
    for line in (b"one\n", b"two\n"):
        with open_append(path) as descriptor:
            os.write(descriptor, line)
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_too_long_is_copied_and_emptied_while_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        bound_file(log, 100)
        assert log.stat().st_size == 100
        writer.write(b"y")
        bound_file(log, 100)
        writer.write(b"after\n")
    assert log.read_bytes() == b"after\n"
    older = tmp_path / "gateway.log.1"
    assert older.read_bytes() == b"x" * 100 + b"y"
    assert older.stat().st_mode & 0o077 == 0


def test_a_full_disk_empties_the_file(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    log.write_bytes(b"x" * 100)
    os.mkdir(tmp_path / "gateway.log.1")  # nothing can be copied there
    bound_file(log, 10)
    assert log.stat().st_size == 0


def test_a_file_that_is_missing_needs_no_bound(tmp_path: Path) -> None:
    bound_file(tmp_path / "gateway.log", 10)
    assert list(tmp_path.iterdir()) == []
