"""Chunks of whole events are handed on unparsed: however an answer is cut into reads, the payload is the same."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.gateway.upstream.connection import Owner, Upstream
from remuda.gateway.upstream.taker import Taker

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Engine(Owner):
    """Remembers nothing."""

    own = False
    answer_memo = None


class Client(Taker):
    """Notes what arrived, and how."""

    def __init__(self) -> None:
        self.payload = b""
        self.whole = 0
        self.ended = False
        self.trouble = ""

    def take(self, payload: bytes) -> None:
        self.payload += payload

    def take_chunk(self, chunk: bytes, start: int) -> None:
        size = len(chunk) - start - 2
        assert chunk[:start] == b"%x\r\n" % size  # exactly as we would frame it
        assert chunk.endswith(b"\r\n")
        self.payload += chunk[start:-2]
        self.whole += 1

    def end(self) -> None:
        self.ended = True

    def broken(self, detail: str) -> None:
        self.trouble = detail


class Wire(asyncio.Transport):
    def write(self, data: Any) -> None: ...

    def abort(self) -> None: ...

    def is_closing(self) -> bool:
        return False


def relay(reads: list[bytes]) -> Client:
    upstream = Upstream(Engine())
    upstream.connection_made(Wire())
    upstream.send(b"", b"", 1e9)
    upstream.data_received(HEAD)
    client = Client()
    upstream.relay_to(client, 60, takes_chunks=True)
    for read in reads:
        if not client.ended and not client.trouble:
            upstream.data_received(read)
    return client


def frame(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


# Payloads that look like framing are the ones that could be mistaken for it.
LOOKALIKES = [b"1\r\n2\r\n", b"\r\n", b"0\r\n\r\n", b"\n\n", b"data: x\n\n", b"5\r\nabc\n\n"]
PAYLOADS = st.lists(st.one_of(st.sampled_from(LOOKALIKES), st.binary(min_size=1, max_size=40)))


@given(PAYLOADS, st.lists(st.integers(1, 30)))
def test_the_payload_does_not_depend_on_how_it_was_cut(payloads: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(map(frame, payloads)) + b"0\r\n\r\n"
    reads = []
    for cut in cuts:
        reads.append(wire[:cut])
        wire = wire[cut:]
    client = relay([read for read in [*reads, wire] if read])
    assert client.payload == b"".join(payloads)
    assert client.ended
    assert not client.trouble


def test_a_read_that_is_one_chunk_is_not_parsed() -> None:
    events = [b"data: %d\n\n" % number for number in range(5)]
    client = relay([frame(events[0]), *map(frame, events[1:]), b"0\r\n\r\n"])
    assert client.payload == b"".join(events)
    assert client.whole == 4  # the parser has to see one first


@pytest.mark.parametrize(
    "odd",
    [
        b"A\r\n01234567\n\n\r\n",
        b"03\r\na\n\n\r\n",
        b"3;x=y\r\na\n\n\r\n",
        b"3\r\na\n",
        b"3\r\na\n\n\r\n3\r\na\n\n\r\n",
        b"3\r\nabc\r\n",
    ],
    ids=["capitals", "zero in front", "extension", "half", "two at once", "half an event"],
)
def test_anything_but_one_plain_chunk_is_parsed(odd: bytes) -> None:
    client = relay([frame(b"first"), odd])
    assert client.whole == 0


def test_bytes_that_are_no_chunk_end_the_answer() -> None:
    assert relay([frame(b"first"), b"3\r\nabcd\r"]).trouble == "what it sent is not HTTP"
