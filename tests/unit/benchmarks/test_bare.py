"""The bare data path in Python: what it must do to be a fair baseline."""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks import bare
from benchmarks.bare import BLOCK_BYTES, Engine, Gateway, hash_blocks
from benchmarks.bench import free_ports
from benchmarks.processes import Command, running, start_server, wait_ready
from benchmarks.programs import HERE

ANSWER = b'{"usage":{"total_tokens":3}}'
HEAD = b"HTTP/1.1 200 OK\r\nserver: mock\r\nconnection: keep-alive\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)


def messages(*contents: str) -> list[Any]:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text} for text in contents]})
    return Gateway({}).decode(body.encode()).messages


def test_a_block_hash_covers_everything_before_the_block() -> None:
    text = b"a" * BLOCK_BYTES + b"b" * BLOCK_BYTES
    whole = hash_blocks(text + b"rest")
    assert len(whole) == 2
    assert whole[0] == hash_blocks(text[:BLOCK_BYTES])[0]
    assert whole[1] != hash_blocks(b"c" * BLOCK_BYTES + b"b" * BLOCK_BYTES)[1]


def test_idle_engines_take_turns_and_a_prompt_goes_where_its_beginning_went() -> None:
    engines = [Engine(1), Engine(2), Engine(3)]
    gateway = Gateway({"m": engines})
    first, second = (gateway.pick_engine(engines, messages(letter * 600)) for letter in "ab")
    assert {first.port, second.port} == {1, 2}
    assert gateway.pick_engine(engines, messages("a" * 600 + "more")) is first
    first.in_flight = 64
    assert gateway.pick_engine(engines, messages("a" * 600)) is not first


def test_the_engine_with_the_fewest_requests_takes_an_unknown_prompt() -> None:
    engines = [Engine(1), Engine(2), Engine(3)]
    for engine, in_flight in zip(engines, (2, 1, 3), strict=True):
        engine.in_flight = in_flight
    assert Gateway({"m": engines}).pick_engine(engines, messages("short")).port == 2


def test_the_table_of_prefixes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare, "PREFIXES_MOST", 3)
    engines = [Engine(1)]
    gateway = Gateway({"m": engines})
    for letter in "abcde":
        gateway.pick_engine(engines, messages(letter * 600))
    assert len(gateway._prefixes) == len(gateway._order) == 3


@pytest.fixture
def engine() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        yield listener


@pytest.fixture
def client(engine: socket.socket, tmp_path: Path) -> Iterator[socket.socket]:
    (port,) = free_ports(1)
    options = ("--port", str(port), "--model", "m", "--engines", str(engine.getsockname()[1]))
    server = start_server("bare", Command((sys.executable, "-P", str(HERE / "bare.py"), *options)), {0}, tmp_path)
    with running(server):
        wait_ready(server, lambda: can_connect(port), 30)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            yield connection


def can_connect(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def ask(target: bytes = b"/v1/chat/completions", body: bytes = b'{"model":"m"}') -> bytes:
    head = b"POST %b HTTP/1.1\r\nhost: h\r\ncookie: c\r\nconnection: keep-alive\r\ncontent-length: %d\r\n\r\n"
    return head % (target, len(body)) + body


def read_until(peer: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        more = peer.recv(65536)
        assert more, data
        data += more
    return data


def test_a_request_and_its_answer_are_relayed_with_a_request_id_over_kept_connections(
    engine: socket.socket, client: socket.socket
) -> None:
    client.sendall(ask())
    peer, _ = engine.accept()
    peer.settimeout(30)
    with peer:
        ids = []
        for _ in range(2):
            head = read_until(peer, b'{"model":"m"}').partition(b"\r\n\r\n")[0].split(b"\r\n")
            assert head[:3] == [
                b"POST /v1/chat/completions HTTP/1.1",
                b"host: 127.0.0.1:%d" % engine.getsockname()[1],
                b"cookie: c",
            ]
            assert head[4] == b"content-length: 13"
            peer.sendall(HEAD + ANSWER[:5])
            peer.sendall(ANSWER[5:])
            answer = read_until(client, ANSWER).partition(b"\r\n\r\n")[0].split(b"\r\n")
            assert answer[:3] == [b"HTTP/1.1 200 OK", b"server: mock", b"content-length: 28"]
            assert answer[3] == head[3]
            ids.append(head[3])
            client.sendall(ask())
        assert len(set(ids)) == 2
        assert all(line.startswith(b"x-request-id: ") for line in ids)


def test_a_stale_connection_is_replaced_once(engine: socket.socket, client: socket.socket) -> None:
    for _ in range(2):
        client.sendall(ask())
        peer, _ = engine.accept()
        with peer:
            read_until(peer, b'{"model":"m"}')
            peer.sendall(HEAD + ANSWER)
            read_until(client, ANSWER)


@pytest.mark.parametrize(
    ("request_bytes", "status", "message"),
    [
        pytest.param(ask(target=b"/admin"), b"404 Not Found", "unknown path", id="path"),
        pytest.param(ask(body=b'{"model":"x"}'), b"404 Not Found", "unknown model", id="model"),
        pytest.param(ask(body=b"{"), b"400 Bad Request", "the body is not a request", id="body"),
    ],
)
def test_what_no_engine_may_see_is_answered(
    client: socket.socket, request_bytes: bytes, status: bytes, message: str
) -> None:
    client.sendall(request_bytes)
    answer = read_until(client, b"}}")
    assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"error": {"message": message}}


def test_an_engine_that_cannot_be_reached_is_a_502(engine: socket.socket, client: socket.socket) -> None:
    engine.close()
    client.sendall(ask())
    assert read_until(client, b"}}").startswith(b"HTTP/1.1 502 Bad Gateway\r\n")


def test_an_engine_that_dies_before_it_answers_is_a_502(engine: socket.socket, client: socket.socket) -> None:
    client.sendall(ask())
    engine.accept()[0].close()
    assert read_until(client, b"}}").startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
