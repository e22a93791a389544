"""Writes the log without ever making a request wait for whoever reads it.

A full pipe or a stopped terminal can block a write for any time, so a thread of its own writes. The lines that it has
not written yet are bounded; beyond that, new lines are dropped and counted. The module does not know what a line says.
"""

import os
import select
import threading
from collections import deque
from typing import Final

_WAITING_BYTES: Final = 4 * 1024 * 1024
"""Lines that wait to be written: some 20,000 requests."""
_LAST_WRITE_S: Final = 1.0
"""How long the end of the process waits for a reader of its last lines."""


class LogWriter:
    """Writes to the file descriptor `fd`. Also a text stream, for the handlers of `logging`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._writing = False
        self._thread: threading.Thread | None = None
        self.dropped_lines = 0
        """Lines that nobody read in time."""

    def put(self, data: bytes) -> None:
        """Write whole lines, soon. Never blocks."""
        with self._lock:
            if self._waiting_bytes + len(data) > _WAITING_BYTES:
                self.dropped_lines += data.count(b"\n")
                return
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._news.notify()

    def write(self, text: str) -> int:
        """The same for text."""
        self.put(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Nothing to do: lines are written as soon as somebody takes them. Part of a text stream."""

    def close(self, timeout_s: float = _LAST_WRITE_S) -> None:
        """Wait until everything is written, or `timeout_s` has passed. Nothing is put after this."""
        with self._lock:
            self._idle.wait_for(lambda: not self._waiting and not self._writing, timeout_s)

    def _run(self) -> None:
        unwritten = b""
        while True:
            with self._lock:
                self._writing = False
                self.dropped_lines += unwritten.count(b"\n")
                if not self._waiting:
                    self._idle.notify_all()
                    self._news.wait_for(lambda: bool(self._waiting))
                data = b"".join(self._waiting)
                self._waiting.clear()
                self._waiting_bytes = 0
                self._writing = True
            unwritten = _write_all(self._fd, data)


def _write_all(fd: int, data: bytes) -> bytes:
    """Write everything, however long that takes. What is returned could not be written: nobody can read it any more."""
    view = memoryview(data)
    written = 0
    while written < len(data):
        try:
            written += os.write(fd, view[written:])
        except BlockingIOError:  # another process that has the same terminal made it non-blocking
            _wait_for_room(fd)
        except OSError:
            return data[written:]
    return b""


def _wait_for_room(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
