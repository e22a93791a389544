"""Downloads one repository of a Hugging Face hub into a folder. An interruption loses at most 10 MiB of a file.

The file runs under the engine's own interpreter, with its huggingface_hub, so it cannot import Remuda. The job is one
JSON line on stdin: repo, revision, folder, token. Answers are JSON lines on stdout: progress, then `done` or `error`.

The hub client's own functions find, authorise and fetch. Two things are added: a part of a file survives the end of
this process, which the client would delete, and it is checked against the hub's SHA-256 before it gets its name. The
client's variables (HF_ENDPOINT, proxies and others) have their usual effect.
"""

import concurrent.futures
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import threading
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parent))  # for `launch`; `python -P` leaves this folder out
import launch

PARTS = ".partial"
WORKERS = 4
REPORT_S = 0.5
HTTP_LIMIT_BYTES = 45 * 1000**3
"""The hub serves files over 50 GB only through its chunk protocol, which the client speaks."""
UNWANTED = ("original/*", "*.pth", "*.gguf", "*.onnx", "onnx/*", "*.msgpack", "*.h5", "*.ot", "*.tflite", "coreml/*")
"""The same weights in formats vLLM does not read from a hub folder."""
DUPLICATES = ("*.bin", "*.pt")
"""Not wanted either where there are safetensors."""


class FetchError(Exception):
    """What went wrong, and what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def say(event: str, **fields: object) -> None:
    """Write one line for Remuda."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")  # in one write, because two threads write lines
    sys.stdout.flush()


def main() -> int:
    """Read the job, do it, and report how it ended."""
    launch.die_with_parent()
    job = json.loads(sys.stdin.readline())
    folder = Path(job["folder"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            take_lock(lock)
            done = fetch(job, folder)
    except FetchError as error:
        say("error", message=error.message, hint=error.hint)
        return 1
    except Exception as error:  # noqa: BLE001  # reason: the hub client lets errors of four libraries through
        known = explain(error, job)
        say("error", message=known.message, hint=known.hint)
        return 1
    say("done", **done)
    return 0


def take_lock(lock) -> None:  # noqa: ANN001 (any open file)
    """Allow one download per folder; a second one waits, and then finds every file."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("progress", stage="waiting")
        fcntl.flock(lock, fcntl.LOCK_EX)


def fetch(job: dict, folder: Path) -> dict:
    """Download every wanted file of the revision."""
    from huggingface_hub import HfApi

    say("progress", stage="asking the hub")
    token = job["token"] or False
    info = HfApi(token=token).model_info(job["repo"], revision=job["revision"], files_metadata=True, timeout=30)
    files = pick_files({item.rfilename: item.size or 0 for item in info.siblings})
    if not files:
        raise FetchError("the repository holds no weights", "check the name")
    total = sum(files.values())
    check_space(folder, total)
    stop = threading.Event()
    reporter = threading.Thread(target=report, args=(folder, files, total, stop), daemon=True)
    reporter.start()
    pool = concurrent.futures.ThreadPoolExecutor(WORKERS)
    try:
        jobs = [pool.submit(fetch_file, job["repo"], info.sha, name, folder, token) for name in files]
        for done in concurrent.futures.as_completed(jobs):
            done.result()
    finally:
        stop.set()
        reporter.join()
        pool.shutdown(wait=False, cancel_futures=True)  # an error is reported now, not after the other files
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    sizes = {name: (folder / name).stat().st_size for name in files}
    return {"commit": info.sha, "files": sizes, "bytes": sum(sizes.values())}


def pick_files(sizes: dict) -> dict:
    """The files of a repository that vLLM needs."""
    wanted = {name: size for name, size in sizes.items() if not matches(name, UNWANTED) and not name.startswith(".")}
    if any(name.endswith(".safetensors") for name in wanted):
        wanted = {name: size for name, size in wanted.items() if not matches(name, DUPLICATES)}
    return wanted


def matches(name: str, patterns: tuple) -> bool:
    """Whether a path fits one of the patterns."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def check_space(folder: Path, total: int) -> None:
    """Refuse a download that the disk cannot hold."""
    here = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    if total - here > free:
        missing = f"{(total - here) / 1e9:.1f} GB are still to come, {free / 1e9:.1f} GB are free"
        raise FetchError(f"the disk under {folder} is too small: {missing}", "free some space, or set REMUDA_HOME")


def fetch_file(repo: str, commit: str, name: str, folder: Path, token: object) -> None:
    """Download one file: continue its part, check it, give it its name."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repo, name, revision=commit)
    meta = get_hf_file_metadata(url, token=token, timeout=30)
    target = folder / name
    if target.is_file() and target.stat().st_size == meta.size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if meta.size is not None and meta.size > HTTP_LIMIT_BYTES:
        hf_hub_download(repo, name, revision=commit, local_dir=folder, token=token)
        return
    part = folder / PARTS / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.{meta.etag}"
    part.parent.mkdir(exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    if meta.size is not None and have > meta.size:
        part.unlink()
        have = 0
    if have != meta.size or not have:
        with part.open("ab") as file:
            headers = build_hf_headers(token=token)
            http_get(url, file, resume_size=have, headers=headers, expected_size=meta.size)
    check_file(part, meta.etag, name)
    part.replace(target)


def check_file(part: Path, etag: str, name: str) -> None:
    """Check a large file, whose etag is its SHA-256. A small file has git's hash; its size and TLS must suffice."""
    if len(etag or "") != hashlib.sha256().digest_size * 2:
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != etag:
        part.unlink()
        raise FetchError(f"{name} arrived damaged (its SHA-256 is not the hub's)", "run it again; the file was deleted")


def report(folder: Path, files: dict, total: int, stop: threading.Event) -> None:
    """Report the bytes on disk at an interval. That is right for every way in which they are downloaded."""
    while not stop.wait(REPORT_S):
        parts = (folder / PARTS).glob("*") if (folder / PARTS).exists() else ()
        done = sum(size_of(folder / name) for name in files) + sum(map(size_of, parts))
        say("progress", stage="downloading", done_bytes=min(done, total), total_bytes=total)


def size_of(path: Path) -> int:
    """The size of a file; 0 while it is renamed."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


STATUSES = {
    403: ("the hub refuses access (403) with {token}", "use a token that may read this repository"),
    404: ("the hub has no such model (404)", "check the name, or set sourceToken if it is private: {page}"),
    429: ("the hub limits the rate of requests (429)", "wait some minutes, or set sourceToken: its limits are higher"),
}


def explain(error: BaseException, job: dict) -> FetchError:
    """The hub client's error as a message and a hint."""
    words = {
        "token": "the token given with sourceToken" if job["token"] else "no token (sourceToken is not set)",
        "page": f"{os.environ.get('HF_ENDPOINT') or 'https://huggingface.co'}/{job['repo']}",
        "revision": job["revision"] or "main",
    }
    status = getattr(getattr(error, "response", None), "status_code", None)
    message, hint = explain_hub(error, status, bool(job["token"])) or explain_machine(error)
    return FetchError(message.format(**words), hint.format(**words))


def explain_hub(error: BaseException, status: int | None, has_token: bool) -> tuple | None:
    """What the hub answered; the special cases come first."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "the model is gated, and access was refused with {token}", "ask for access at {page}"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no revision '{revision}'", "see its commits at {page}"
    if status == 401:
        known = "the hub does not accept the token (401)" if has_token else "not found, or private (401)"
        return known, "check the name, and set sourceToken to a token that may read it"
    if isinstance(error, errors.RepositoryNotFoundError):
        return STATUSES[404]
    if status is not None and status >= 500:
        return f"the hub has an error of its own ({status})", "try again later; it goes on where it ended"
    return STATUSES.get(status)


def said_of(error: OSError) -> str:
    """The file of an error, escaped for str.format."""
    return str(error.filename).replace("{", "{{").replace("}", "}}")


def explain_machine(error: BaseException) -> tuple:
    """What went wrong on this machine or on the way to the hub."""
    from huggingface_hub import errors

    said = (str(error).splitlines() or [""])[0].replace("{", "(").replace("}", ")")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and the weights are not here", "unset it, or use file:///…"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk filled up during the download", "free some space and run it again; it goes on"
    if isinstance(error, PermissionError):
        return f"{said_of(error)} may not be written", "check who owns the folder, or set REMUDA_HOME"
    if isinstance(error, OSError) and error.filename:  # the hub client's own errors are OSErrors without a file
        return f"{said_of(error)}: {error.strerror}", "check the disk, or set REMUDA_HOME"
    if isinstance(error, ValueError):
        return said, "check the source"
    again = "check the network and HF_ENDPOINT; run it again and it goes on where it ended"
    return f"the hub cannot be reached ({type(error).__name__}: {said})", again


if __name__ == "__main__":
    sys.exit(main())
