"""Runs one download of a repository in a child process under the engine's own interpreter.

The child (inside/fetch.py) reads its job from stdin and answers in JSON lines: progress, then `done`, or an error with
a message and a hint. The module does not know models.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from remuda.engine.errors import WeightsError
from remuda.engine.install.uv import clean_environment
from remuda.engine.status import Progress, ProgressCallback
from remuda.machine.parent_death import PARENT_VARIABLE

_FETCHER: Final = Path(__file__).parent / "inside" / "fetch.py"
_LINE_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""The last line names every file; a thousand names exceed asyncio's own limit of 64 KiB."""
_TOKEN_VARIABLES: Final = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN"})


@dataclass(frozen=True, slots=True)
class FetchJob:
    """Download one revision of a repository into a folder."""

    repo: str
    revision: str | None
    folder: Path
    token: str | None = None

    def __repr__(self) -> str:
        return f"FetchJob({self.repo}@{self.revision or 'main'} -> {self.folder})"


async def run_fetch(job: FetchJob, python: Path, progress: ProgressCallback) -> dict[str, Any]:
    """Download, and return {"commit", "files": {name: size}, "bytes"}. Cancelling the call ends the child."""
    process = await _start(job, python)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        request = {"repo": job.repo, "revision": job.revision, "folder": str(job.folder), "token": job.token}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.close()
        async for line in process.stdout:
            message = _parse(line)
            if message is None:
                continue
            if message["event"] == "done":
                del message["event"]
                return dict(message)
            if message["event"] == "error":
                raise WeightsError(f"{job.repo}: {message['message']}", message["hint"])
            progress(Progress(message["stage"], job.repo, message.get("done_bytes"), message.get("total_bytes")))
        status = await process.wait()
        raise WeightsError(
            f"{job.repo}: the download ended with status {status}", "run it again; it goes on where it ended"
        )
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _start(job: FetchJob, python: Path) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            str(python),
            "-P",
            str(_FETCHER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_environment(os.environ, job),
            limit=_LINE_LIMIT_BYTES,
        )
    except OSError as error:
        raise WeightsError(
            f"{job.repo}: the download could not be started: {python}: {error.strerror}",
            "`remuda engine install --repair`",
        ) from error


def _parse(line: bytes) -> dict[str, Any] | None:
    """A line of the child; None for a line that a library printed in between."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and "event" in message else None


def _environment(environ: Mapping[str, str], job: FetchJob) -> dict[str, str]:
    """The user's proxies and HF_ENDPOINT without their tokens: only the token that the model file names is used."""
    env = {name: value for name, value in clean_environment(environ).items() if name not in _TOKEN_VARIABLES}
    return env | {
        PARENT_VARIABLE: str(os.getpid()),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "DO_NOT_TRACK": "1",
        "HF_HOME": str(job.folder.parent / ".hub"),
    }
