"""The relay may hold back the last event, so that it can be judged before the client has it."""

import pytest

from remuda.gateway.api.problems import Dialect
from remuda.gateway.http.exchange import Exchange, Link
from remuda.gateway.http.head import RequestHead
from remuda.gateway.record.record import Record
from remuda.gateway.serving.relay import Relay
from remuda.gateway.upstream.connection import Owner, Upstream
from remuda.gateway.upstream.head import read_answer_head

EVENTS = [b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n", b"data: [DONE]\n\n"]
ABORTED = b'data: {"choices":[{"finish_reason":"abort"}]}\n\n'


class Wire(Link):
    """Keeps what is written."""

    draining = False

    def __init__(self) -> None:
        self.sent = b""
        self.write = self.add

    def add(self, data: bytes) -> None:
        self.sent += data


def make_relay() -> tuple[Relay, Wire]:
    wire = Wire()
    upstream = Upstream(Owner())
    upstream.head = read_answer_head("1.1", 200, [(b"content-type", b"text/event-stream")])
    head = RequestHead(b"POST", b"/v1/completions", 0)
    exchange = Exchange(wire, head, 0)
    relay = Relay(exchange, Record(), upstream, Dialect.OPENAI)
    relay.hold_last = True
    relay.open_ended = True
    return relay, wire


@pytest.mark.parametrize("cuts", [1, 2, 4], ids=["one by one", "in pairs", "all at once"])
def test_all_events_are_sent_in_their_order_and_the_last_one_at_the_end(cuts):
    relay, wire = make_relay()
    for start in range(0, len(EVENTS), cuts):
        relay.take(b"".join(EVENTS[start : start + cuts]))
    assert wire.sent == b"".join(EVENTS[:-1])
    relay.end()
    assert wire.sent == b"".join(EVENTS)
    assert (relay.record.events, relay.trouble) == (4, "")


def test_chunk_of_one_event_waits_for_the_next_one():
    relay, wire = make_relay()
    for event in EVENTS[:2]:
        relay.take_chunk(b"%x\r\n%b\r\n" % (len(event), event), 3)
    assert wire.sent == EVENTS[0]


def test_last_words_of_a_dying_engine_never_reach_the_client():
    relay, wire = make_relay()
    relay.take(EVENTS[0] + ABORTED)
    relay.broken("it closed the connection")
    assert wire.sent.startswith(EVENTS[0] + b'data: {"error":')
    assert b"abort" not in wire.sent


def test_last_event_before_a_break_reaches_the_client():
    relay, wire = make_relay()
    relay.take(EVENTS[0] + EVENTS[1])
    relay.broken("it closed the connection")
    assert wire.sent.startswith(EVENTS[0] + EVENTS[1] + b'data: {"error":')
