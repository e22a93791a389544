"""Logs that others append to are bounded."""

import os
from pathlib import Path

from remuda.fleet.logsize import bound_log


def test_log_that_is_too_long_is_put_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        bound_log(log, 100)
        assert log.stat().st_size == 100
        writer.write(b"y")
        bound_log(log, 100)
        writer.write(b"after\n")
    assert log.read_bytes() == b"after\n"
    older = tmp_path / "gateway.log.1"
    assert older.read_bytes() == b"x" * 100 + b"y"
    assert older.stat().st_mode & 0o077 == 0


def test_full_disk_empties_the_log(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    log.write_bytes(b"x" * 100)
    os.mkdir(tmp_path / "gateway.log.1")  # nothing can be copied there
    bound_log(log, 10)
    assert log.stat().st_size == 0


def test_log_that_is_not_there_is_nothing(tmp_path: Path) -> None:
    bound_log(tmp_path / "gateway.log")
