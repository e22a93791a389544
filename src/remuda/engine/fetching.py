"""Runs one download in the engine's environment and reads how it goes.

The child (inside/fetch.py) gets its job on stdin and answers in JSON lines: progress, then done or an error that it has
already put into words. Does not know models. Called by `weights`.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from remuda.engine.build import Progress, ProgressCallback
from remuda.engine.errors import WeightsError
from remuda.engine.process import PARENT_VARIABLE
from remuda.engine.uv import clean_environment

_FETCHER: Final = Path(__file__).parent / "inside" / "fetch.py"
_TOKEN_VARIABLES: Final = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN"})


@dataclass(frozen=True, slots=True)
class FetchJob:
    """One repository of a hub, at one revision, into one folder."""

    repo: str
    revision: str | None
    folder: Path
    token: str | None = None

    def __repr__(self) -> str:
        return f"FetchJob({self.repo}@{self.revision or 'main'} -> {self.folder})"


async def run_fetch(job: FetchJob, python: Path, progress: ProgressCallback) -> dict[str, Any]:
    """Download; returns {"commit", "files": {name: size}, "bytes"}. Cancelling it ends the child."""
    process = await asyncio.create_subprocess_exec(
        str(python),
        "-P",
        str(_FETCHER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(os.environ, job),
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        request = {"repo": job.repo, "revision": job.revision, "folder": str(job.folder), "token": job.token}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.close()
        async for line in process.stdout:
            message = json.loads(line)
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


def _environment(environ: Mapping[str, str], job: FetchJob) -> dict[str, str]:
    """The user's proxies and HF_ENDPOINT, without tokens lying around: only the file's own reference counts."""
    env = {name: value for name, value in clean_environment(environ).items() if name not in _TOKEN_VARIABLES}
    return env | {
        PARENT_VARIABLE: str(os.getpid()),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "DO_NOT_TRACK": "1",
        "HF_HOME": str(job.folder.parent / ".hub"),
    }
