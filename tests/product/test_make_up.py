"""`make up` as a stranger runs it: a clean copy of the sources, another user, an empty home.

The first run has the network, installs the project and meets a taken port. The later runs have a network namespace in
which nothing but the loopback interface exists: they serve offline, twice in a row.

Two large things are not installed again; other tests install them. The stranger runs the same Python as the tests, and
sees the installed engine, read-only, at the place where his own would be. A private mount namespace shows him both and
hides everything else in the home of the user who runs the tests.

Only root can become another user. Without root, the tests say so, and the same user runs everything with an empty home.
"""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.product.driving import GONE_S, READY_S, ROOT, Terminal, family_of, kill, wait_until_gone

from remuda.engine.install.installer import find_installation
from remuda.machine.home import Home

PORT = 8080
"""The port in examples/laptop.yaml."""
INSTALL_S = 300.0
NAME = f"remuda-test-{os.getpid()}"
"""A name of its own for each run: a run that was killed leaves its user behind."""
IS_ROOT = os.geteuid() == 0
PASSED_ON = {
    "ALL_PROXY", "CURL_CA_BUNDLE", "HTTPS_PROXY", "HTTP_PROXY", "LANG", "NO_PROXY", "PIP_CERT", "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_TRUSTED_HOST", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE",
    "UV_DEFAULT_INDEX", "UV_FIND_LINKS", "UV_INDEX", "UV_INDEX_URL", "UV_INSECURE_HOST", "UV_NATIVE_TLS",
}  # fmt: skip
"""Variables that say how this machine reaches its package indexes. They belong to the machine, not to a user."""

ONLY_LOOPBACK = """
python3 -c "import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH14x', b'lo', 0x1))"
"""
"""Bring the loopback interface up (SIOCSIFFLAGS, IFF_UP); a new network namespace has no other."""

SHOW_ENGINE = """
engine=$1 place=$2 staged=$3 hidden=$4 prefix=$5
mount --bind "$engine" "$place"
mount -o remount,bind,ro "$place"
mount --bind "$prefix" "$staged"
mount -t tmpfs -o mode=755 tmpfs "$hidden"
mkdir -p "$prefix"
mount --bind "$staged" "$prefix"
mount -o remount,bind,ro "$prefix"
shift 5
"""
"""Show the engine in the stranger's home, and of the hidden home only the Python below `prefix`."""


@dataclass(frozen=True)
class Stranger:
    """Another user, his copy of the sources and his home."""

    folder: Path
    uid: int
    gid: int

    @property
    def sources(self) -> Path:
        return self.folder / "remuda"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def env(self) -> Mapping[str, str]:
        passed_on = {name: value for name, value in os.environ.items() if name.upper() in PASSED_ON}
        path = f"{self.folder / 'bin'}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return {**passed_on, "HOME": str(self.home), "USER": NAME, "PATH": path, "NO_COLOR": "1"}

    def command(self, *words: str, offline: bool) -> list[str]:
        """A command line that runs `words` as the stranger."""
        spaces = ["--net"] if offline else []
        script = "set -eu\n" + (ONLY_LOOPBACK if offline else "")
        if not IS_ROOT:
            return ["unshare", "--map-root-user", *spaces, "bash", "-c", f'{script}exec "$@"', "bash", *words]
        engine = installed_engine()
        prefix = engine.joinpath("bin", "python").resolve().parents[1]
        shown = [str(path) for path in (engine, self.place(engine), self.folder / "staged", Path.home(), prefix)]
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--"]
        script += f'{SHOW_ENGINE}exec "$@"'
        return ["unshare", "--mount", *spaces, "bash", "-c", script, "bash", *shown, *become, *words]

    def place(self, engine: Path) -> Path:
        """Where the stranger's own copy of an engine would be."""
        return self.home / ".local" / "share" / "remuda" / "engines" / engine.name

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with the network."""
        return subprocess.run(
            self.command(*words, offline=False),
            cwd=self.sources, env=self.env, text=True, capture_output=True, timeout=INSTALL_S, check=False,
        )  # fmt: skip

    @contextmanager
    def make_up(self) -> Iterator[Terminal]:
        """`make up` in a terminal, offline; nothing of it stays."""
        terminal = Terminal(self.command("make", "up", offline=True), self.env, self.sources)
        try:
            yield terminal
        finally:
            for process in family_of(terminal.pid):
                with suppress(ProcessLookupError):
                    kill(process.pid)
            terminal.close()

    def ask(self, terminal: Terminal, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the network of a terminal's command."""
        space = [
            "nsenter",
            f"--target={terminal.pid}",
            "--net",
            *([] if IS_ROOT else ["--user", "--preserve-credentials"]),
        ]
        return subprocess.run([*space, *words], text=True, capture_output=True, timeout=60, check=False)


def installed_engine() -> Path:
    found = find_installation(Home.from_environment())
    assert found is not None, "`make test` installs the engine first"
    return found.path


def list_sources() -> list[str]:
    """What a clone of this commit would have, and the changes that are not committed: no ignored file."""
    if not (ROOT / ".git").exists():
        return list_unpacked_sources()
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


def list_unpacked_sources() -> list[str]:
    """The same without git, for sources from an archive: every file that .gitignore does not name."""
    ignored = {".git"} | {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    return [
        path.relative_to(ROOT).as_posix()
        for top in ROOT.iterdir()
        if top.name not in ignored
        for path in (top.rglob("*") if top.is_dir() else [top])
        if path.is_file() and not ignored & set(path.relative_to(ROOT).parts)
    ]


def add_user(home: Path) -> tuple[int, int]:
    subprocess.run(["useradd", "--no-create-home", f"--home-dir={home}", "--shell=/bin/bash", NAME], check=True)
    entry = pwd.getpwnam(NAME)
    return entry.pw_uid, entry.pw_gid


def settle(folder: Path, uid: int, gid: int) -> Stranger:
    """Give the stranger his copy of the sources, his home and a Python."""
    made = Stranger(folder, uid, gid)
    for name in list_sources():
        target = made.sources / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    engine = installed_engine()
    place = made.place(engine)
    place.parent.mkdir(parents=True)
    if IS_ROOT:
        place.mkdir()
    else:
        place.symlink_to(engine)
    for name in ("bin", "staged"):
        (folder / name).mkdir()
    (folder / "bin" / "python3").symlink_to(Path(sys.executable).resolve())
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, uid, gid, follow_symlinks=False)
    return made


def test_unpacked_sources_are_those_of_a_clone() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("there is no git repository to compare with")
    assert sorted(list_unpacked_sources()) == sorted(list_sources())


@pytest.fixture(scope="module")
def stranger() -> Iterator[Stranger]:
    folder = Path(tempfile.mkdtemp(prefix="remuda-stranger-"))  # pytest's own folders are closed to other users
    folder.chmod(0o755)
    try:
        if IS_ROOT:
            yield settle(folder, *add_user(folder / "home"))
        else:
            yield settle(folder, os.getuid(), os.getgid())
    finally:
        if IS_ROOT:
            subprocess.run(["userdel", NAME], check=True)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def first_run(stranger: Stranger) -> subprocess.CompletedProcess[str]:
    """`make up` with the network and with a taken port."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # somebody else has it
            taken.bind(("127.0.0.1", PORT))
            taken.listen()
        return stranger.run("make", "up")


def test_the_stranger_is_another_user(stranger: Stranger) -> None:
    if not IS_ROOT:
        pytest.skip("`make up` is NOT tested as another user: only root can become one")
    done = stranger.run("id", "-un")
    assert (done.stdout, done.stderr) == (f"{NAME}\n", "")


def test_the_first_run_installs_the_project_and_says_that_the_port_is_taken(
    stranger: Stranger, first_run: subprocess.CompletedProcess[str]
) -> None:
    assert first_run.returncode == 2, first_run.stderr  # make's status for a command that failed
    assert re.search(rf"^error: port {PORT} is taken", first_run.stderr, re.MULTILINE), first_run.stderr
    assert f"\nhint: choose another: --port {PORT + 1}" in first_run.stderr
    assert "Traceback" not in first_run.stderr
    assert (stranger.sources / ".venv" / "bin" / "remuda").stat().st_uid == stranger.uid


@pytest.mark.req("E8.offline", level="run", on="vLLM")
@pytest.mark.parametrize("run", ["first", "second"])
def test_offline_it_serves_and_ctrl_c_leaves_nothing(
    stranger: Stranger, first_run: subprocess.CompletedProcess[str], run: str
) -> None:
    with stranger.make_up() as terminal:
        terminal.read_until(rf"Base URL: http://127\.0\.0\.1:{PORT}/v1", READY_S)
        assert re.search(r"\(\d+ tokens in [\d.]+ s", terminal.seen), "it answered once"
        assert "Installing" not in terminal.seen
        family = family_of(terminal.pid)
        assert {os.stat(f"/proc/{process.pid}").st_uid for process in family} == {stranger.uid}

        outside = stranger.ask(terminal, sys.executable, "-c", "import socket; socket.getaddrinfo('pypi.org', 443)")
        assert "socket.gaierror" in outside.stderr
        body = '{"model": "remuda-demo", "prompt": "Once", "max_tokens": 4}'
        url = f"http://127.0.0.1:{PORT}/v1/completions"
        answer = stranger.ask(terminal, "curl", "-sS", url, "-H", "content-type: application/json", "-d", body)
        assert '"completion_tokens":4' in answer.stdout, answer.stderr

        terminal.press(b"\x03")
        assert terminal.wait(GONE_S) == -signal.SIGINT, "make ends by the signal, as a shell expects"
        assert "stopped: all processes have ended" in terminal.seen
        wait_until_gone(family)
