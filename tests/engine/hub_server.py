"""A hub as the real client sees it, on this machine: model info, file metadata, ranges, tokens, and faults on demand.

Speaks what huggingface_hub asks for: `GET /api/models/{repo}/revision/{revision}` and
`HEAD|GET /{repo}/resolve/{revision}/{file}` with ETag, X-Repo-Commit, X-Linked-Etag, X-Linked-Size and Accept-Ranges.
"""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_INFO = re.compile(r"^/api/models/([^/]+/[^/]+)(?:/revision/([^/?]+))?(?:\?.*)?$")
_FILE = re.compile(r"^/([^/]+/[^/]+)/resolve/([^/]+)/(.+?)(?:\?.*)?$")


@dataclass
class Repository:
    """One model on the hub."""

    files: dict[str, bytes] = field(repr=False)
    commit: str = "c0ffee" * 6 + "c0ff"
    revisions: tuple[str, ...] = ("main", "v1")
    token: str | None = None
    """Needed to read it."""
    gated: bool = False
    digest: str | None = None
    """Said to be the SHA-256 of every file, instead of the truth."""


@dataclass
class Hub:
    """What it holds, what it was asked, and how it fails."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path, Range of every request."""
    tokens: set[str] = field(default_factory=set)
    """Every bearer token that was sent."""
    cut_after_bytes: list[int] = field(default_factory=list)
    """Next file answers end the connection after this many bytes, one entry each."""
    status: int | None = None
    """Answer everything with this."""
    stall: threading.Event | None = None
    """While set to an event: send three quarters of each file, then wait for it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        self.hub.requests.append((self.command, self.path, self.headers.get("Range")))
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if bearer:
            self.hub.tokens.add(bearer)
        if self.hub.status is not None:
            self._send(self.hub.status, b"{}", {"Retry-After": "0"})
        elif found := _INFO.match(self.path):
            self._send_info(found[1], found[2] or "main", bearer)
        elif found := _FILE.match(self.path):
            self._send_file(found[1], found[3], bearer, with_body=with_body)
        else:
            self._send(404, b"{}", {})

    def _find(self, name: str, bearer: str) -> Repository | None:
        """The repository, or None after an answer that says why not, as the hub words it."""
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._send(401, b'{"error":"Invalid username or password."}', {"X-Error-Code": "RepoNotFound"})
        elif repository.token is not None and bearer != repository.token:
            code = "GatedRepo" if repository.gated else "RepoNotFound"
            self._send(403 if repository.gated else 401, b"{}", {"X-Error-Code": code})
        else:
            return repository
        return None

    def _send_info(self, name: str, revision: str, bearer: str) -> None:
        repository = self._find(name, bearer)
        if repository is None:
            return
        if revision not in (*repository.revisions, repository.commit):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [{"rfilename": file, "size": len(content)} for file, content in repository.files.items()]
        info = {"id": name, "modelId": name, "sha": repository.commit, "siblings": siblings, "private": False}
        self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def _send_file(self, name: str, file: str, bearer: str, *, with_body: bool) -> None:
        repository = self._find(name, bearer)
        if repository is None:
            return
        content = repository.files[file]
        digest = repository.digest or hashlib.sha256(content).hexdigest()
        headers = {
            "ETag": f'"{digest}"',
            "X-Linked-Etag": f'"{digest}"',
            "X-Linked-Size": str(len(content)),
            "X-Repo-Commit": repository.commit,
            "Accept-Ranges": "bytes",
        }
        start = 0
        if found := re.match(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start = int(found[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206 if start else 200, content[start:], headers, with_body=with_body, faulty=with_body)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], *, with_body: bool = True, faulty: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not with_body or self.command == "HEAD":
            return
        if faulty and self.hub.cut_after_bytes and len(body) > self.hub.cut_after_bytes[0]:
            self.wfile.write(body[: self.hub.cut_after_bytes.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
        elif faulty and self.hub.stall is not None and len(body) > 1000:
            self.wfile.write(body[: len(body) * 3 // 4])
            self.wfile.flush()
            self.hub.stall.wait()
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests say what they need to."""


class RunningHub:
    """`with RunningHub(hub) as url:`"""

    def __init__(self, hub: Hub) -> None:
        handler = type("Handler", (_Handler,), {"hub": hub})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # clients of these tests die on purpose
        self._hub = hub

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        if self._hub.stall is not None:
            self._hub.stall.set()
        self._server.shutdown()
        self._server.server_close()


def read_folder(folder: Path) -> dict[str, bytes]:
    """A local model as the files of a repository."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
