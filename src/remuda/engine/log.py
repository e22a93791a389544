"""An engine's log on disk: bounded, rotated, without secrets.

Knows lines and files; does not know what they mean (`stages`, `deaths`). Called by `process` for every chunk the
engine writes.
"""

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, Final

from remuda.spec.secrets import mask_secrets

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""One file; with two predecessors an engine's log never takes more than 48 MiB."""
KEPT_FILES: Final = 2
MAX_LINE_BYTES: Final = 32 * 1024
"""vLLM prints its whole configuration in one line of about 4 KB; what is longer is cut."""
RECENT_LINES: Final = 400
"""Lines kept in memory to explain a death."""

_MASK: Final = b"***"


class EngineLog:
    """Takes chunks, writes whole masked lines, hands each to `on_line`."""

    def __init__(
        self, path: Path, secrets: Iterable[str] = (), on_line: Callable[[str], None] = lambda _: None
    ) -> None:
        self._path = path
        # line by line, for that is how a secret of several lines (a PEM key) is printed
        self._secrets = [part for secret in secrets for part in secret.encode().splitlines() if len(part) >= 4]
        self._on_line = on_line
        self._tail = b""
        self._file: BinaryIO | None = None
        self._size_bytes = 0
        self.recent: deque[str] = deque(maxlen=RECENT_LINES)

    def write(self, chunk: bytes) -> None:
        """Add what the engine wrote; a progress bar's carriage returns end lines too."""
        lines = (self._tail + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._tail = lines.pop()
        if len(self._tail) > MAX_LINE_BYTES:
            lines.append(self._tail)
            self._tail = b""
        for line in lines:
            self._take(line)

    def note(self, text: str) -> None:
        """Add a line of Remuda's own: starts, ends, reasons."""
        self._take(f"remuda: {text}".encode())

    def close(self) -> None:
        """Write what is left of a line that was never ended."""
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
        """A full disk must not stop an engine: what cannot be written is dropped."""
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
        full, self._file = self._file, None  # whatever fails below, the next line opens the file anew
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
