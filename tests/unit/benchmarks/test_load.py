"""The load generator and the mock engines: a benchmark that does not notice a wrong answer measures nothing."""

import contextlib
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.bench import Ask, fetch, free_port_block
from benchmarks.processes import Command, running, start_server, wait_ready
from benchmarks.programs import build_tools

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the benchmark's tools are C and there is no gcc")

EVENT = b'data: {"x":"~%019d"}\n\n'
BODY = (EVENT % 1) + (EVENT % 2) + b"data: [DONE]\n\n"


@pytest.fixture(scope="module")
def tools() -> dict[str, Path]:
    return build_tools()


@pytest.fixture(scope="module")
def engine_port(tools: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port_block(2)
    argv = (str(tools["mock_engine"]), "--port", str(port), "--engines", "2", "--model", "m")
    server = start_server("mock", Command(argv), core=0, folder=tmp_path_factory.mktemp("mock"))
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


def test_every_request_is_answered_and_counted(tools: dict[str, Path], engine_port: int, tmp_path: Path) -> None:
    expected = fetch(engine_port, Ask())
    more = ("--connections", "8", "--count", "500")
    report = run_load(tools, tmp_path, "requests", engine_port, Ask(), expected, *more)
    assert (report["started"], report["finished"], report["bytes"]) == (500, 500, 500 * len(expected))
    assert failures(report) == {}


def test_streams_are_counted_to_the_last_event(tools: dict[str, Path], engine_port: int, tmp_path: Path) -> None:
    ask = Ask(events=5, every_ms=1)
    more = ("--connections", "10", "--count", "30")
    report = run_load(tools, tmp_path, "streams", engine_port, ask, fetch(engine_port, ask), *more)
    assert (report["finished"], report["events"]) == (30, 30 * 6)  # [DONE] is one
    assert report["event_delay_us"]["count"] == 30 * 5
    assert failures(report) == {}


def test_open_loop_sends_at_the_rate_asked_for(tools: dict[str, Path], engine_port: int, tmp_path: Path) -> None:
    ask = Ask(events=2, every_ms=1)
    more = ("--connections", "8", "--rate", "200", "--seconds", "0.5")
    report = run_load(tools, tmp_path, "rate", engine_port, ask, fetch(engine_port, ask), *more)
    assert (report["started"], report["finished"], len(report["first_byte_us"]["all"])) == (100, 100, 100)
    assert report["elapsed_s"] >= 0.49


def test_idle_connections_are_held_and_then_answer(tools: dict[str, Path], engine_port: int, tmp_path: Path) -> None:
    expected = fetch(engine_port, Ask())
    more = ("--connections", "200", "--hold-s", "0.1")
    report = run_load(tools, tmp_path, "idle", engine_port, Ask(), expected, *more)
    assert report["finished"] == 200
    assert failures(report) == {}


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
