"""Use the product as a person does, by its command line, a terminal and signals, and find what it leaves behind."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from remuda.fleet import control
from remuda.machine.processes import ProcessId, fetch_process_id, is_alive

ROOT = Path(__file__).resolve().parents[2]
LAPTOP = ROOT / "examples" / "laptop.yaml"
TWO_ENGINES = ROOT / "examples" / "two-engines.yaml"
REMUDA = (sys.executable, "-m", "remuda")
READY_S = 240.0  # two engines start at once on two busy cores
GONE_S = 20.0
POLL_S = 0.05

Found = TypeVar("Found")


def until(look: Callable[[], Found], deadline_s: float, what: str) -> Found:
    """Call `look` until its answer is true, and return that answer."""
    end_s = time.monotonic() + deadline_s
    while not (found := look()):
        assert time.monotonic() < end_s, f"not within {deadline_s:g} s: {what}"
        time.sleep(POLL_S)
    return found


class Machine:
    """A REMUDA_HOME of its own, and the command line that uses it."""

    def __init__(self, home: Path, engines: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        (home / "engines").symlink_to(engines)
        self.env = {**os.environ, "REMUDA_HOME": str(home), "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
        for name in ("REMUDA_URL", "REMUDA_API_KEY"):
            self.env.pop(name, None)

    def run(self, *arguments: str, text: str | None = None, timeout_s: float = READY_S) -> "Done":
        """Run one command to its end."""
        source: dict[str, Any] = {"stdin": subprocess.DEVNULL} if text is None else {"input": text}
        command = [*REMUDA, *arguments]
        done = subprocess.run(
            command, env=self.env, text=True, capture_output=True, timeout=timeout_s, check=False, **source
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def open_terminal(self, *arguments: str) -> "Terminal":
        """Run one command in a terminal."""
        return Terminal([*REMUDA, *arguments], self.env)

    def status(self) -> dict[str, Any]:
        """What `remuda status --json` prints. Tests poll this, so it starts no process."""
        found: dict[str, Any] = msgspec.to_builtins(control.ask_status(self.home / "state"))
        return found

    def processes(self) -> set[ProcessId]:
        """All processes of the running fleet, including the children of its engines."""
        record = json.loads((self.home / "state" / "fleet.json").read_text())
        return family_of(record["pid"])


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    status: int
    out: str
    err: str


def family_of(pid: int) -> set[ProcessId]:
    """A process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(stat[1]), []).append(int(folder.name))
    family, todo = set(), [pid]
    while todo:
        member = todo.pop()
        todo += parents.get(member, [])
        if process := fetch_process_id(member):
            family.add(process)
    return family


def wait_until_gone(family: set[ProcessId]) -> None:
    """Wait until all processes of a fleet have ended."""
    assert len(family) >= 4, "a fleet has a supervisor, a gateway, vLLM's server and its core"
    until(lambda: not [one for one in family if is_alive(one)], GONE_S, f"all of {family} gone")


def kill(pid: int) -> None:
    """End a process by SIGKILL."""
    os.kill(pid, signal.SIGKILL)


def suspend(pid: int) -> None:
    """Stop a process by SIGSTOP. From outside it looks like a process that hangs."""
    os.kill(pid, signal.SIGSTOP)


class Terminal:
    """A command in a pseudo-terminal of its own, as in front of a person."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], folder: Path = ROOT) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            # `nohup` and `&` ignore these signals, and child processes inherit that. A person's shell does not.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            os.chdir(folder)
            os.execvpe(command[0], list(command), {**env, "TERM": "xterm", "COLUMNS": "100"})
        self.seen = ""
        self._status: int | None = None

    def read_until(self, pattern: str, deadline_s: float) -> re.Match[str]:
        """Read until the terminal shows `pattern`."""

        def look() -> re.Match[str] | None:
            self._read()
            return re.search(pattern, self.seen, re.DOTALL)

        with self._shown():
            return until(look, deadline_s, f"{pattern!r} in the terminal")  # type: ignore[return-value]

    def press(self, keys: bytes) -> None:
        """Type keys."""
        os.write(self._master, keys)

    def wait(self, deadline_s: float) -> int:
        """Wait for the end of the command and return its exit status."""

        def look() -> bool:
            self._read()
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self._status = os.waitstatus_to_exitcode(status)
            return bool(done)

        with self._shown():
            until(look, deadline_s, "the end of the command")
        assert self._status is not None
        return self._status

    def hang_up(self) -> None:
        """Close the terminal, as closing its window does."""
        os.close(self._master)
        self._master = -1

    def _read(self) -> None:
        while self._master >= 0 and select.select([self._master], [], [], 0)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the other side is closed
                return
            if not data:
                return
            self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", data.decode(errors="replace"))

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        try:
            yield
        except AssertionError:
            print(self.seen)
            raise

    def close(self) -> None:
        """End the command if it still runs, and close the terminal."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self._master >= 0:
            os.close(self._master)
