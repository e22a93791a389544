"""Files that are replaced whole, and files that several processes append to."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


def replace_file(path: Path, data: bytes, *, durable: bool = True, public: bool = False) -> None:
    """Replace the file at `path`, or create it, so that a reader finds the old or the new content and never a part.

    Only the owner may read the file, unless it is `public`. With `durable`, the new content survives a power failure
    as soon as the call returns; that costs a write to disk (fsync), milliseconds to seconds.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    mode = 0o644 if public else 0o600
    descriptor = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:  # a part of a file is removed, whatever interrupted the call
        aside.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def open_append(path: Path) -> Iterator[int]:
    """A descriptor that appends to the file at `path`; the file and its folders are created, for the owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def bound_file(path: Path, limit_bytes: int) -> None:
    """Copy a file that is longer than `limit_bytes` to NAME.1 and empty it, while processes append to it.

    Lines that are written between the copy and the emptying are lost. On a full disk the file is only emptied.
    """
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
