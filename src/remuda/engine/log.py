"""The log of an engine on disk: bounded, rotated, without secrets.

The module knows lines and files, and not what the lines mean (engine.diagnosis reads them).
"""

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, Final

from remuda.spec.secrets import mask_secrets

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""One file. With its two predecessors, the log of an engine takes at most 48 MiB."""
KEPT_FILES: Final = 2
MAX_LINE_BYTES: Final = 32 * 1024
"""A longer line is cut. vLLM prints its whole configuration in one line of about 4 KB."""
RECENT_LINES: Final = 400
"""Lines that are kept in memory, so that the cause of a death can be found in them."""

_MASK: Final = b"***"


class EngineLog:
    """Takes chunks of output, writes whole lines without secrets, and gives each line to `on_line`."""

    def __init__(
        self, path: Path, secrets: Iterable[str] = (), on_line: Callable[[str], None] = lambda _: None
    ) -> None:
        self._path = path
        # A secret of several lines, such as a PEM key, is masked line by line.
        self._secrets = [part for secret in secrets for part in secret.encode().splitlines() if len(part) >= 4]
        self._on_line = on_line
        self._tail = b""
        self._file: BinaryIO | None = None
        self._size_bytes = 0
        self.recent: deque[str] = deque(maxlen=RECENT_LINES)

    def write(self, chunk: bytes) -> None:
        """Add output of the engine. The carriage returns of a progress bar end lines too."""
        lines = (self._tail + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._tail = lines.pop()
        if len(self._tail) > MAX_LINE_BYTES:
            lines.append(self._tail)
            self._tail = b""
        for line in lines:
            self._take(line)

    def note(self, text: str) -> None:
        """Add a line of Remuda: a start, an end, a reason."""
        self._take(f"remuda: {text}".encode())

    def close(self) -> None:
        """Write the last line, if it has no end, and close the file."""
        if self._tail:
            self._take(self._tail)
            self._tail = b""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take(self, line: bytes) -> None:
        line = self._mask(line[:MAX_LINE_BYTES])
        if not line.strip():
            return
        self._store(line + b"\n")
        text = line.decode("utf-8", "replace")
        self.recent.append(text)
        self._on_line(text)

    def _mask(self, line: bytes) -> bytes:
        for secret in self._secrets:
            line = line.replace(secret, _MASK)
        return mask_secrets(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _store(self, line: bytes) -> None:
        """Write a line. If that fails, the line is lost: a full disk must not stop an engine."""
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("ab", buffering=0)
                self._path.chmod(0o600)
                self._size_bytes = self._path.stat().st_size
            if self._size_bytes + len(line) > MAX_FILE_BYTES:
                self._rotate()
            self._file.write(line)
            self._size_bytes += len(line)
        except OSError:
            return

    def _rotate(self) -> None:
        assert self._file is not None
        full, self._file = self._file, None  # if something fails below, the next line opens the file again
        full.close()
        for age in range(KEPT_FILES, 0, -1):
            older = self._path if age == 1 else self._numbered(age - 1)
            if older.exists():
                older.replace(self._numbered(age))
        self._file = self._path.open("ab", buffering=0)
        self._path.chmod(0o600)
        self._size_bytes = 0

    def _numbered(self, age: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{age}")
