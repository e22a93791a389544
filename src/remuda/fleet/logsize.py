"""Bounds the logs that child processes append to by themselves: the gateway's, and that of a detached fleet.

Engines' logs pass through us and are rotated on the way (`engine.logfile`); these do not, because a line a request
is not worth a pipe. They are opened to append, so a file that was copied away and emptied goes on at its beginning;
lines written between the two are lost. Called by `supervisor`.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

APPENDED = ("gateway.log", "fleet.log")
LOOK_S = 10.0  # at 1,000 requests/s a gateway writes 2 MB in that time
LIMIT_BYTES = 64 * 1024 * 1024  # and its predecessor: at most twice as much, and what is written between two looks


async def keep_bounded(paths: Iterable[Path]) -> None:
    """Look at the logs until cancelled."""
    watched = tuple(paths)
    while True:
        await asyncio.sleep(LOOK_S)
        for path in watched:
            await asyncio.to_thread(bound_log, path)


def bound_log(path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
    """Put a log that is too long aside as NAME.1 and empty it. On a full disk it is only emptied."""
    with contextlib.suppress(OSError):
        if path.stat().st_size <= limit_bytes:
            return
        older = path.with_name(f"{path.name}.1")
        try:
            os.close(os.open(older, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600))
            shutil.copyfile(path, older)
        except OSError:
            with contextlib.suppress(OSError):
                older.unlink(missing_ok=True)
        os.truncate(path, 0)
