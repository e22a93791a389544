"""The load generator and the mock engines: a benchmark that does not notice a wrong answer measures nothing."""

import contextlib
import itertools
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.bench import Ask, fetch, free_port_block, get_page
from benchmarks.processes import Command, running, start_server, wait_ready
from benchmarks.programs import build_tools

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the benchmark's tools are C and there is no gcc")

EVENT = b'data: {"x":"~%019d"}\n\n'
BODY = (EVENT % 1) + (EVENT % 2) + b"data: [DONE]\n\n"


@pytest.fixture(scope="module")
def tools() -> dict[str, Path]:
    return build_tools()


WAITS = ("spin", "sleep")


@pytest.fixture(params=WAITS)
def wait(engine_port: int, request: pytest.FixtureRequest) -> str:
    """How the mock engines, and the load generator, wait."""
    assert get_page(engine_port, f"/mock/wait/{request.param}") == request.param.encode()
    return str(request.param)


@pytest.fixture(scope="module")
def engine_port(tools: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port_block(2)
    argv = (str(tools["mock_engine"]), "--port", str(port), "--engines", "2", "--model", "m")
    server = start_server("mock", Command(argv), cores={0}, folder=tmp_path_factory.mktemp("mock"))
    with running(server):
        wait_ready(server, lambda: can_connect(port), 10)
        yield port


def can_connect(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def run_load(tools: dict[str, Path], folder: Path, mode: str, port: int, ask: Ask, body: bytes, *more: str) -> Any:
    (folder / "request").write_bytes(ask.request(port))
    (folder / "expected").write_bytes(body)
    argv = [str(tools["load"]), mode, "--port", str(port), "--request", str(folder / "request")]
    argv += ["--expect", str(folder / "expected"), *more]
    return json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout)


@contextlib.contextmanager
def one_answer_server(answer: bytes, pieces: int) -> Iterator[int]:
    """Answers every request of one connection with these bytes, cut into `pieces`, then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                assert peer.recv(65536)
                size = -(-len(answer) // pieces)
                for start in range(0, len(answer), size):
                    peer.sendall(answer[start : start + size])
                peer.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def failures(report: Any) -> dict[str, int]:
    return {name: count for name, count in report["failures"].items() if count}


def test_every_request_is_answered_and_counted(
    tools: dict[str, Path], engine_port: int, tmp_path: Path, wait: str
) -> None:
    expected = fetch(engine_port, Ask())
    more = ("--connections", "8", "--count", "500", "--wait", wait)
    report = run_load(tools, tmp_path, "requests", engine_port, Ask(), expected, *more)
    assert (report["started"], report["finished"], report["bytes"]) == (500, 500, 500 * len(expected))
    assert failures(report) == {}


def test_streams_are_counted_to_the_last_event(
    tools: dict[str, Path], engine_port: int, tmp_path: Path, wait: str
) -> None:
    ask = Ask(events=5, every_ms=1)
    more = ("--connections", "10", "--count", "30", "--wait", wait)
    report = run_load(tools, tmp_path, "streams", engine_port, ask, fetch(engine_port, ask), *more)
    assert (report["finished"], report["events"]) == (30, 30 * 6)  # [DONE] is one
    assert report["event_delay_us"]["count"] == 30 * 5
    assert failures(report) == {}


def test_open_loop_sends_at_the_rate_asked_for(
    tools: dict[str, Path], engine_port: int, tmp_path: Path, wait: str
) -> None:
    ask = Ask(events=2, every_ms=1)
    # As many connections as requests: however slow this machine is, one is free when the next request is due.
    more = ("--connections", "100", "--rate", "200", "--seconds", "0.5", "--wait", wait)
    report = run_load(tools, tmp_path, "rate", engine_port, ask, fetch(engine_port, ask), *more)
    assert (report["started"], report["finished"], len(report["first_byte_us"]["all"])) == (100, 100, 100)
    assert report["elapsed_s"] >= 0.49


def test_idle_connections_are_held_and_then_answer(
    tools: dict[str, Path], engine_port: int, tmp_path: Path, wait: str
) -> None:
    expected = fetch(engine_port, Ask())
    more = ("--connections", "200", "--hold-s", "0.1", "--wait", wait)
    report = run_load(tools, tmp_path, "idle", engine_port, Ask(), expected, *more)
    assert report["finished"] == 200
    assert failures(report) == {}


def read_state(pid: int) -> str:
    """R: on a core or waiting for one. S: asleep."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def has_slept(pid: int, mode: str) -> bool:
    """Whether it was seen asleep: 20 looks at a process that should not sleep, as many as it takes at the other."""
    looks = itertools.repeat(None) if mode == "sleep" else range(20)
    return any(read_state(pid) == "S" for _ in looks)


@pytest.mark.parametrize("mode", WAITS)
def test_the_load_generator_sleeps_between_events_only_when_told_to(
    tools: dict[str, Path], tmp_path: Path, mode: str
) -> None:
    (tmp_path / "bytes").write_bytes(b"x")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        argv = [str(tools["load"]), "idle", "--port", str(listener.getsockname()[1]), "--connections", "1"]
        argv += ["--hold-s", "60", "--wait", mode, "--request", str(tmp_path / "bytes"), "--contains", "x"]
        with subprocess.Popen(argv) as load:
            peer, _ = listener.accept()
            with peer:
                slept = has_slept(load.pid, mode)
                load.terminate()
    assert slept is (mode == "sleep")


@pytest.mark.parametrize("mode", WAITS)
def test_the_mock_engines_sleep_between_the_events_of_a_stream_only_when_told_to(
    tools: dict[str, Path], tmp_path: Path, mode: str
) -> None:
    port = free_port_block(1)
    argv = (str(tools["mock_engine"]), "--port", str(port), "--engines", "1", "--wait", mode)
    server = start_server("mock", Command(argv), cores={0}, folder=tmp_path)
    with running(server):
        wait_ready(server, lambda: can_connect(port), 10)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(Ask(events=100_000, every_ms=10).request(port))
            assert client.recv(65536)
            assert has_slept(server.process.pid, mode) is (mode == "sleep")


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(("--wait", "nap"), id="an unknown way to wait"),
        pytest.param(("--speed", "9"), id="an unknown option"),
    ],
)
def test_the_load_generator_names_an_option_that_it_does_not_know(
    tools: dict[str, Path], more: tuple[str, str]
) -> None:
    argv = [str(tools["load"]), "requests", *more]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (2, f"load: unknown option {' '.join(more)}\n")


@pytest.mark.parametrize("pieces", [1, 2, 7, 60, 150])
def test_an_answer_may_be_cut_into_reads_anywhere(tools: dict[str, Path], tmp_path: Path, pieces: int) -> None:
    answer = chunked(EVENT % 1763722586123456789, EVENT % 1763722586123456999, b"data: [DONE]\n\n")
    with one_answer_server(answer, pieces) as port:
        report = run_load(tools, tmp_path, "streams", port, Ask(2), BODY, "--connections", "1", "--count", "1")
    assert (report["finished"], report["events"], report["event_delay_us"]["count"]) == (1, 3, 2)
    assert failures(report) == {}


FIRST, SECOND, DONE = EVENT % 1, EVENT % 2, b"data: [DONE]\n\n"
WRONG = {
    "one byte changed": (chunked(FIRST, SECOND.replace(b"x", b"y"), DONE), {"bad_body": 1}),
    "one event lost": (chunked(FIRST, DONE), {"bad_body": 1}),
    "one event twice": (chunked(FIRST, SECOND, SECOND, DONE), {"bad_body": 1}),
    "no [DONE]": (chunked(FIRST, SECOND), {"bad_body": 1}),
    "an error status": (chunked(FIRST, SECOND, DONE).replace(b"200 OK", b"502 No"), {"bad_status": 1}),
    "bad chunk framing": (chunked(FIRST, SECOND, DONE).replace(b"\r\n24\r\n", b"\r\n23\r\n", 1), {"broken": 1}),
    "bytes after the end": (chunked(FIRST, SECOND, DONE) + b"x", {"broken": 1}),
}


@pytest.mark.parametrize(("answer", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_a_failure(
    tools: dict[str, Path], tmp_path: Path, answer: bytes, expected: dict[str, int]
) -> None:
    with one_answer_server(answer, 1) as port:
        report = run_load(tools, tmp_path, "streams", port, Ask(2), BODY, "--connections", "1", "--count", "1")
    assert failures(report) == expected
