"""The log files of engines, gateway and fleet: which ones a name means, and what is written to one of them.

It reads files only, so it works while no fleet runs. It does not print.
"""

import os
from collections import deque
from pathlib import Path

from remuda.fleet.errors import FleetError


def find_logs(folder: Path, name: str | None) -> list[Path]:
    """The log files of a model's engines, of one engine, of `gateway` or of `fleet`; all of them without a name."""
    known = sorted(folder.glob("*.log"))
    if not known:
        raise FleetError(f"there are no logs in {folder}", "start a fleet with `remuda up`")
    if name is None:
        return known
    found = [path for path in known if path.stem == name or path.stem.rpartition("-")[0] == name]
    if not found:
        raise FleetError(f"there is no log of {name}", f"there are: {', '.join(path.stem for path in known)}")
    return found


class LogReader:
    """Reads one log file and follows it across truncation and rotation."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._path = path
        self._file = path.open(errors="replace")
        self._partial = ""

    def read_last(self, count: int) -> list[str]:
        """The last `count` lines that the file has."""
        return [line.rstrip("\n") for line in deque(self._file, maxlen=count)]

    def read_new(self) -> list[str] | None:
        """The lines that were completed since the last call; None when nothing was written."""
        text = self._file.read()
        if not text:
            return [] if self._reopen_if_rotated() else None
        *lines, self._partial = (self._partial + text).split("\n")
        return lines

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _reopen_if_rotated(self) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        here = self._path.open(errors="replace") if now.st_ino != os.fstat(self._file.fileno()).st_ino else None
        if here is None and now.st_size >= self._file.tell():
            return False
        if here is not None:
            self._file.close()
            self._file = here
        else:
            self._file.seek(0)
        return True
