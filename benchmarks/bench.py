"""One run's environment: mock engines and load generator on one core, the contestant under test on another.

Owns every process of a run and the files they share. It starts a contestant, puts a load on it and reads what that
cost. It does not know which load makes which table (`tables`).
"""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from benchmarks.contestants import API_KEY, MODEL, Contestant, Place
from benchmarks.processes import BenchError, Command, Server, running, start_server, wait_ready
from benchmarks.programs import build_tools

ENGINES = 4
CHAT = "/v1/chat/completions"
BODY_BYTES = 1000
MARKER = "fresh horse"
RSS_POLL_S = 0.25
START_POLL_S = 0.05
LOAD_LIMIT_S = 240.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core runs what."""

    router: int
    load: int
    all: frozenset[int]


def pick_cores() -> Cores:
    """The first two cores this process may use."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("two cores are needed: one for the gateway under test, one for load and mock engines")
    return Cores(router=cores[0], load=cores[1], all=frozenset(cores))


class Wait(StrEnum):
    """What load generator and mock engines do while no socket is ready."""

    SPIN = "spin"
    """They ask the kernel again and again: a gateway's write never has to wake them."""
    SLEEP = "sleep"
    """They block in the kernel, as real clients and servers do: a gateway's write wakes them."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One kind of request; with `events`, it asks for a stream of that many events `every_ms` apart."""

    events: int = 0
    every_ms: int = 0

    @property
    def name(self) -> str:
        return f"stream-{self.events}-{self.every_ms}" if self.events else "request"

    def body(self) -> bytes:
        """A chat request of BODY_BYTES bytes."""
        fields: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": ""}]}
        if self.events:
            fields |= {"stream": True, "max_tokens": self.events}
        if self.every_ms:
            fields |= {"user": f"every-{self.every_ms}-ms"}
        missing = BODY_BYTES - len(json.dumps(fields, separators=(",", ":")))
        fields["messages"][0]["content"] = ("Which horse should carry this rider to the next station? " * 20)[:missing]
        return json.dumps(fields, separators=(",", ":")).encode()

    def request(self, port: int) -> bytes:
        body = self.body()
        head = (
            f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {API_KEY}\r\n"
            f"Content-Type: application/json\r\nAccept: */*\r\nUser-Agent: bench\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True, slots=True)
class Cost:
    """What one load cost the server, and what the load generator saw."""

    cpu_s: float
    user_s: float
    """The part of `cpu_s` in user space."""
    rss_start_mib: float
    rss_peak_mib: float
    rss_end_mib: float
    report: dict[str, Any]


@dataclass(slots=True)
class Bench:
    """See the module. `open_bench` makes it."""

    cores: Cores
    folder: Path
    tools: Mapping[str, Path]
    engine_ports: tuple[int, ...]
    wait: Wait = Wait.SPIN
    requests: int = 0
    failures: list[str] = field(default_factory=list)

    def set_wait(self, wait: Wait) -> None:
        """From now on load generator and mock engines wait like this."""
        told = get_page(self.engine_ports[0], f"/mock/wait/{wait}")
        if told != wait.encode():
            raise BenchError(f"the mock engines did not change how they wait: {told!r}")
        self.wait = wait

    @contextlib.contextmanager
    def started(self, contestant: Contestant) -> Iterator["Running"]:
        """The contestant, ready, until the end of the block."""
        place = self._place(contestant.name)
        if contestant.name == "direct":
            yield Running(contestant, Place(place.folder, self.engine_ports[0], 0, self.engine_ports), None, 0.0, 0.0)
            return
        command = contestant.command(place)
        cores = self.cores.all if contestant.all_cores else {self.cores.router}
        began_at = time.monotonic()
        with running(start_server(contestant.name, command, cores, place.folder)) as server:
            with _watching_rss(server.rss_mib, START_POLL_S) as rss_seen_mib:
                wait_ready(server, lambda: is_ready(contestant, place, server), contestant.ready_s)
                ready_s = time.monotonic() - began_at
                rss_seen_mib.append(server.rss_mib())
            yield Running(contestant, place, server, ready_s, max(rss_seen_mib))

    def put_load(self, target: "Running", mode: str, ask: Ask, **options: float) -> Cost:
        """Run the load generator against `target` once; the cost is the CPU time that the target used meanwhile."""
        argv = self._load_command(target, mode, ask, options)
        if target.server is not None:
            target.server.check_alive()
        rss_start_mib, cpu_start_s, user_start_s = target.rss_mib(), target.cpu_s(), target.user_s()
        with _watching_rss(target.rss_mib, RSS_POLL_S) as rss_seen_mib:
            result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=LOAD_LIMIT_S)
        cpu_s, user_s = target.cpu_s() - cpu_start_s, target.user_s() - user_start_s
        rss_end_mib = target.rss_mib()
        if result.returncode:
            raise BenchError(f"{' '.join(argv)} failed: {result.stderr.strip()}")
        report = json.loads(result.stdout)
        self._note_failures(target, mode, report)
        self.requests += report["finished"]
        rss_peak_mib = max([*rss_seen_mib, rss_start_mib, rss_end_mib])
        return Cost(cpu_s, user_s, rss_start_mib, rss_peak_mib, rss_end_mib, report)

    def _load_command(self, target: "Running", mode: str, ask: Ask, options: Mapping[str, float]) -> list[str]:
        request = self.folder / f"{ask.name}-{target.place.port}.request"
        request.write_bytes(ask.request(target.place.port))
        argv = [str(self.tools["load"]), mode, "--port", str(target.place.port), "--request", str(request)]
        argv += ["--wait", self.wait]
        if target.contestant.exact:
            argv += ["--expect", str(self._expected(ask))]
        else:
            argv += ["--contains", "[DONE]" if ask.events else MARKER]
        for name, value in options.items():
            argv += [f"--{name.replace('_', '-')}", str(value)]
        return argv

    def _expected(self, ask: Ask) -> Path:
        """The engine's own answer to `ask`: every exact contestant must relay these bytes."""
        file = self.folder / f"{ask.name}.expected"
        if not file.exists():
            file.write_bytes(fetch(self.engine_ports[0], ask))
        return file

    def _note_failures(self, target: "Running", mode: str, report: Mapping[str, Any]) -> None:
        failures = {name: count for name, count in report["failures"].items() if count}
        if report["started"] != report["finished"] + report["failures"]["closed_early"] and not failures:
            failures["unanswered"] = report["started"] - report["finished"]
        if failures:
            self.failures.append(f"{target.contestant.name}, {mode}: {failures} ({report['first_failure']})")

    def _place(self, name: str) -> Place:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        port, spare = free_ports(2)
        return Place(folder, port, spare, self.engine_ports)


@dataclass(frozen=True, slots=True)
class Running:
    """A contestant that is ready; `server` is None for the engines themselves."""

    contestant: Contestant
    place: Place
    server: Server | None
    ready_s: float
    """From its start to its first right answer."""
    rss_start_peak_mib: float
    """The most memory seen in that time."""

    def cpu_s(self) -> float:
        return self.server.cpu_s() if self.server else 0.0

    def user_s(self) -> float:
        return self.server.user_s() if self.server else 0.0

    def rss_mib(self) -> float:
        return self.server.rss_mib() if self.server else 0.0


@contextlib.contextmanager
def open_bench(realtime: bool = False) -> Iterator[Bench]:
    """Start the mock engines and move this process, and so the load generator, to the load core."""
    tools = build_tools()
    cores = pick_cores()
    os.sched_setaffinity(0, {cores.load})
    if realtime:
        _set_realtime(0, 2)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is nobody when this is root
        first = free_port_block(ENGINES)
        argv = (str(tools["mock_engine"]), "--port", str(first), "--engines", str(ENGINES), "--model", MODEL)
        engines = stack.enter_context(running(start_server("mock-engines", Command(argv), {cores.load}, folder)))
        wait_ready(engines, lambda: answers(first), 5)
        if realtime:
            keep_out = Command(("sh", "-c", "while :; do :; done"))
            filler = stack.enter_context(running(start_server("keep-out", keep_out, {cores.router}, folder)))
            _set_realtime(filler.process.pid, 1)
        yield Bench(cores, folder, tools, tuple(range(first, first + ENGINES)))


def _set_realtime(pid: int, priority: int) -> None:
    """Give a process precedence over everything else on its core.

    Everything that is measured inherits priority 2. A loop with priority 1 uses the time that the gateway under test
    leaves on its core, so no other program empties its caches. The kernel still gives 5 % of the time to the others,
    50 ms at once, which shows in p99 delays.
    """
    try:
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(priority))
    except PermissionError:
        raise BenchError("real-time priority is not allowed\nhint: --realtime needs root") from None


def fetch(port: int, ask: Ask) -> bytes:
    """The decoded body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
        connection.request("POST", CHAT, ask.body(), headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise BenchError(f"port {port} answered {response.status}: {body[:500].decode(errors='replace')}")
    return body


def get_page(port: int, path: str) -> bytes:
    """The body of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def is_ready(contestant: Contestant, place: Place, server: Server) -> bool:
    """Whether it answers a whole request correctly or, if it has a `ready_text`, has printed that."""
    if contestant.ready_text:
        return contestant.ready_text in server.log.read_text(errors="replace")
    return answers(place.port)


def answers(port: int) -> bool:
    """Whether the server on this port answers a whole request correctly."""
    try:
        return MARKER.encode() in fetch(port, Ask())
    except (OSError, http.client.HTTPException, BenchError):
        return False


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def free_port_block(count: int) -> int:
    """The first of `count` neighbouring free ports, below the range from which outgoing connections get theirs."""
    for first in range(20_000, 30_000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    each = stack.enter_context(socket.socket())
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    each.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise BenchError("no free ports between 20000 and 30000 on loopback")


@contextlib.contextmanager
def _watching_rss(read_mib: Callable[[], float], poll_s: float) -> Iterator[list[float]]:
    """What `read_mib` said, again and again, until the end of the block."""
    seen_mib: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(poll_s):
            seen_mib.append(read_mib())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen_mib
    finally:
        stop.set()
        thread.join()
