"""An engine's head that comes again is recognised instead of parsed: what is made of the answer is the same."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.gateway.upstream.connection import Owner, Upstream
from remuda.gateway.upstream.taker import AttemptFailed

Made = tuple[int, bytes, bool, bool, bytes]
"""Of an answer: status, header lines, whether it streams, whether it is complete, its body."""


class _Wire(asyncio.Transport):
    def write(self, data: Any) -> None: ...

    def abort(self) -> None: ...

    def is_closing(self) -> bool:
        return False


class Engine(Owner):
    """Notes which connections it gets back."""

    def __init__(self) -> None:
        self.own = False
        self.answer_memo = None
        self.kept: list[Upstream] = []

    def keep(self, upstream: Upstream) -> None:
        self.kept.append(upstream)


def answer(status: str = "200 OK", lines: bytes = b"", body: bytes = b"{}", length: bytes | None = None) -> bytes:
    length = b"%d" % len(body) if length is None else length
    return b"HTTP/1.1 %b\r\n%bcontent-length: %b\r\n\r\n%b" % (status.encode(), lines, length, body)


def ask(upstream: Upstream, reads: list[bytes]) -> Made | str:
    """One request over `upstream`, answered by `reads`: what was made of them, or why it failed."""
    signal = upstream.send(b"", b"", 1e9)
    for read in reads:
        upstream.data_received(read)
    if not signal.done:
        return "waits"
    try:
        next(signal.__await__())
    except StopIteration:
        pass
    except AttemptFailed as failure:
        return failure.detail
    head = upstream.head
    made = (head.status, head.lines, head.streams, upstream.complete, upstream.take_parts())
    upstream.release()
    return made


def connect(engine: Engine) -> Upstream:
    upstream = Upstream(engine)
    upstream.connection_made(_Wire())
    return upstream


LINES = st.sampled_from(
    [
        b"",
        b"date: Sat, 01 Jan 2000 00:00:00 GMT\r\n",
        b"server: x\r\nContent-Type: application/json\r\n",
        b"x-note: content-length: 3\r\n",
        b"connection: close\r\n",
        b"connection: keep-alive\r\n",
        b"content-type: text/event-stream\r\n",
    ]
)
ANSWERS = st.builds(
    answer,
    st.sampled_from(["200 OK", "404 Not Found", "500 Internal Server Error", "204 No Content", "200 "]),
    LINES,
    st.binary(max_size=20),
    st.sampled_from([None, None, None, b"2", b"2 ", b"0002"]),
)


@given(st.lists(ANSWERS, min_size=2, max_size=6))
def test_recognised_answers_are_made_the_same_of(answers: list[bytes]) -> None:
    engine = Engine()
    for wire in answers:
        assert ask(connect(engine), [wire]) == ask(connect(Engine()), [wire])


def test_a_head_that_comes_again_is_not_parsed() -> None:
    engine = Engine()
    upstream = connect(engine)
    first = ask(upstream, [answer(body=b"hello")])
    upstream._feed = None  # type: ignore[assignment]  # parsing would fail
    assert ask(upstream, [answer(body=b"hello, world")]) == (200, b"", False, True, b"hello, world")
    assert first == (200, b"", False, True, b"hello")
    assert engine.kept == [upstream, upstream]


def test_connection_goes_on_between_parsed_and_recognised_answers() -> None:
    upstream = connect(Engine())
    other = answer(lines=b"x: y\r\n")
    for wire in (answer(), answer(), other, answer(), other, other, answer(body=b"x" * 100)):
        made = ask(upstream, [wire])
        assert made[-1] == wire.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(body=b""),
        answer(status="204 No Content", body=b"", length=b"0"),
        answer(lines=b"connection: close\r\n"),
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        answer(lines=b"content-type: text/event-stream\r\n"),
    ],
    ids=["after a 1xx", "no body", "closes", "HTTP/1.0", "chunked", "a stream, whose length is relayed"],
)
def test_head_that_leaves_something_open_is_not_remembered(first: bytes) -> None:
    engine = Engine()
    ask(connect(engine), [first])
    assert engine.answer_memo is None


@pytest.mark.parametrize("cut", range(1, 43))
def test_answer_in_two_reads_is_parsed(cut: int) -> None:
    engine = Engine()
    ask(connect(engine), [answer(body=b"hello")])
    wire = answer(body=b"world")
    assert ask(connect(engine), [wire[:cut], wire[cut:]]) == (200, b"", False, True, b"world")
    assert len(wire) == 43


def test_connection_with_more_than_an_answer_is_not_used_again() -> None:
    engine = Engine()
    ask(connect(engine), [answer()])
    upstream = connect(engine)
    signal = upstream.send(b"", b"", 1e9)
    upstream.data_received(answer())
    upstream.data_received(answer())
    assert signal.done
    upstream.release()
    assert upstream not in engine.kept
