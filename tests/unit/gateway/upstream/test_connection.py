"""What one connection to an engine tells whoever takes the answer: everything once, in order, and one end."""

import asyncio
from typing import Any

import pytest

from remuda.gateway.deadlines import NEVER
from remuda.gateway.upstream.connection import Owner, Upstream
from remuda.gateway.upstream.taker import AttemptFailed, Taker

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.unsent_bytes = 0
        self.reading = True
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted


class Engine(Owner):
    """Notes which connections it gets back."""

    def __init__(self) -> None:
        self.own = False
        self.answer_memo = None
        self.kept: list[Upstream] = []

    def keep(self, upstream: Upstream) -> None:
        self.kept.append(upstream)

    def forget(self, upstream: Upstream) -> None: ...


class Client(Taker):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def take(self, payload: bytes) -> None:
        self.heard.append(payload)

    def take_chunk(self, chunk: bytes, start: int) -> None:
        self.heard.append(chunk[start:-2])

    def end(self) -> None:
        self.heard.append("end")

    def broken(self, detail: str) -> None:
        self.heard.append(("broken", detail))


def open_upstream() -> tuple[Upstream, Wire]:
    upstream = Upstream(Engine())
    wire = Wire()
    upstream.connection_made(wire)
    return upstream, wire


def test_reading_stops_while_nobody_takes_the_answer_and_goes_on_when_somebody_does():
    upstream, wire = open_upstream()
    answer = upstream.send(b"head", b"body", 1e9)
    upstream.data_received(HEAD + b"x" * 60_000)
    assert answer.done
    assert wire.reading
    upstream.data_received(b"x" * 60_000)
    assert not wire.reading
    client = Client()
    upstream.relay_to(client, 60.0)
    assert wire.reading
    assert len(upstream.take_parts()) == 120_000


def test_reading_stays_stopped_when_the_client_cannot_take_more_either():
    upstream, wire = open_upstream()
    upstream.send(b"head", b"body", 1e9)
    upstream.data_received(HEAD + b"x" * 60_000)
    upstream.data_received(b"x" * 60_000)
    upstream.pause()
    upstream.relay_to(Client(), 60.0)
    assert not wire.reading
    upstream.resume()
    assert wire.reading


def test_time_of_whoever_waits_for_an_answer_that_has_begun_is_not_counted_against_the_engine():
    upstream, wire = open_upstream()
    upstream.send(b"head", b"body", 5.0)
    upstream.data_received(HEAD + b"x")
    upstream.on_deadline(6.0)
    assert upstream.deadline_at == NEVER
    assert not wire.aborted


@pytest.mark.parametrize("waits", [True, False], ids=["before it is taken", "after it is taken"])
def test_answer_that_breaks_ends_once_for_whoever_takes_it(waits):
    upstream, _ = open_upstream()
    answer = upstream.send(b"head", b"body", 1e9)
    upstream.data_received(HEAD + b"x")
    client = Client()
    assert upstream.take_parts() == b"x"
    if not waits:
        upstream.relay_to(client, 60.0)
    upstream.connection_lost(None)
    if waits:
        upstream.relay_to(client, 60.0)
    assert answer.done
    upstream.connection_lost(None)
    upstream.on_deadline(1e9)
    assert client.heard == [("broken", "it closed the connection")]


def test_answer_that_is_complete_does_not_break_afterwards():
    upstream, _ = open_upstream()
    upstream.send(b"head", b"body", 1e9)
    upstream.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{")
    client = Client()
    upstream.take_parts()
    upstream.relay_to(client, 60.0)
    upstream.data_received(b"}")
    upstream.on_deadline(1e9)
    upstream.data_received(b"more")
    upstream.connection_lost(None)
    assert client.heard == [b"}", "end"]


@pytest.mark.parametrize(
    ("body_bytes", "unsent_bytes", "status", "kept"),
    [(20_000, 0, 200, True), (20_000, 1, 200, False), (20_000, 0, 400, False), (16_384, 0, 400, True)],
    ids=["all of it sent", "part of it sent", "refused, all of it sent", "refused, small"],
)
def test_connection_is_kept_if_the_engine_has_read_the_request(body_bytes, unsent_bytes, status, kept):
    upstream, wire = open_upstream()
    upstream.send(b"head", b"x" * body_bytes, 1e9)
    wire.unsent_bytes = unsent_bytes
    upstream.data_received(b"HTTP/1.1 %d x\r\ncontent-length: 2\r\n\r\n{}" % status)
    wire.unsent_bytes = 0
    assert upstream.complete
    upstream.release()
    assert wire.aborted is not kept


@pytest.mark.parametrize(
    ("reused", "heard", "stale"),
    [(True, b"", True), (False, b"", False), (True, b"HT", False)],
    ids=["kept alive and silent", "new and silent", "kept alive and not silent"],
)
def test_only_a_kept_connection_that_says_nothing_was_closed_before_the_request(reused, heard, stale):
    upstream, _ = open_upstream()
    upstream.reused = reused
    answer = upstream.send(b"head", b"body", 1e9)
    if heard:
        upstream.data_received(heard)
    upstream.connection_lost(None)
    with pytest.raises(AttemptFailed) as caught:
        next(answer.__await__())
    assert caught.value.stale is stale
    assert caught.value.detail == "it closed the connection"


def test_more_of_an_answer_can_be_waited_for_before_it_is_taken():
    upstream, wire = open_upstream()
    upstream.send(b"head", b"body", 5.0)
    upstream.data_received(HEAD + b"x" * 60_000)
    upstream.data_received(b"x" * 60_000)
    assert not wire.reading
    more = upstream.wait_for_more()
    assert wire.reading
    assert not more.done
    upstream.data_received(b"y")
    assert more.done
    assert upstream.peek() == b"x" * 120_000 + b"y"
    assert not wire.reading
    upstream.wait_for_more()
    assert wire.reading


def test_wait_for_more_of_a_complete_answer_is_over_at_once():
    upstream, _ = open_upstream()
    upstream.send(b"head", b"body", 5.0)
    upstream.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")
    assert upstream.wait_for_more().done


@pytest.mark.parametrize("lost_first", [True, False], ids=["lost before the wait", "lost during the wait"])
def test_wait_for_more_fails_when_the_answer_breaks(lost_first):
    upstream, _ = open_upstream()
    upstream.send(b"head", b"body", 5.0)
    upstream.data_received(HEAD + b"x")
    if lost_first:
        upstream.connection_lost(None)
    more = upstream.wait_for_more()
    if not lost_first:
        upstream.connection_lost(None)
    with pytest.raises(AttemptFailed, match="it closed the connection"):
        next(more.__await__())


def test_wait_for_more_has_the_deadline_of_the_answer():
    upstream, _ = open_upstream()
    upstream.send(b"head", b"body", 5.0)
    upstream.data_received(HEAD + b"x")
    more = upstream.wait_for_more()
    upstream.on_deadline(6.0)
    with pytest.raises(AttemptFailed) as caught:
        next(more.__await__())
    assert caught.value.timed_out
    assert caught.value.detail == "it did not begin to answer in time"


def test_looking_at_an_empty_answer_leaves_nothing_behind():
    upstream, _ = open_upstream()
    answer = upstream.send(b"head", b"body", 5.0)
    assert upstream.peek() == b""
    upstream.data_received(b"HTTP/1.1 200 OK\r\n")
    assert not answer.done


def test_connection_that_is_used_once_is_not_kept():
    upstream, wire = open_upstream()
    upstream.use_once()
    upstream.send(b"head", b"", 5.0)
    upstream.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert upstream.complete
    upstream.release()
    assert wire.aborted
