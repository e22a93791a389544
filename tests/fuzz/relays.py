"""Target: what a client gets of an answer. The input is what the engine sends on a connection, as in `answers`.

The rules, for clients of HTTP/1.0 and HTTP/1.1, however the engine's bytes are cut:

* The client gets exactly one well-formed answer (h11 reads it), or a connection that is cut short. HTTP/1.0 without a
  length ends every answer with the connection, so only there a cut answer looks like a complete one.
* Its status and body are the engine's own. A stream that breaks off ends with one more event, which says so.
"""

from random import Random
from typing import cast

import h11
from tests.fuzz import answers
from tests.fuzz.answers import Engine, close_connection, open_connection
from tests.fuzz.running import Reading, RuleBrokenError, Target, cut

from remuda.gateway.http.exchange import Exchange, Link
from remuda.gateway.http.head import HeadLimits, RequestHead, parse_head
from remuda.gateway.record.record import Record
from remuda.gateway.serving.attempt import Attempt
from remuda.gateway.serving.relay import relay
from remuda.gateway.upstream.connection import AttemptFailed, Upstream

LIMITS = HeadLimits(head_bytes=32_768, header_count=100, url_bytes=8192)
TROUBLE = b'data: {"error":'
NEVER = float("inf")


class Client(Link):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        self.received = b""
        self.was_cut = False
        self.finished = False
        self.deadline_at = NEVER
        self.write = self._keep

    def _keep(self, data: bytes) -> None:
        if self.was_cut or self.finished:
            raise RuleBrokenError(f"{data!r} is written to a client whose answer has ended")
        self.received += data

    def finish(self, keep_alive: bool, unread_body: bool) -> None:
        self.finished = True

    def cut(self) -> None:
        self.was_cut = True

    @property
    def draining(self) -> bool:
        return False


class Try:
    """The part of an attempt that a relay uses."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    def close(self) -> None:
        self.upstream.release()


class Serving:
    """One request on its way: sent, answered, relayed."""

    def __init__(self, upstream: Upstream, head: RequestHead) -> None:
        self.client = Client()
        self.upstream = upstream
        self.trouble: str | None = None
        self.failed = False
        self.exchange = Exchange(self.client, head, 0)
        self.exchange.coroutine = self._serve()
        self.exchange.advance()

    async def _serve(self) -> None:
        try:
            await self.upstream.send(b"POST / HTTP/1.1\r\nhost: h\r\n\r\n", b"", NEVER)
        except AttemptFailed:
            self.failed = True
            self.upstream.release()
            return
        attempt = cast("Attempt", Try(self.upstream))
        self.trouble = await relay(self.exchange, Record(), attempt, 60.0)
        if not self.client.was_cut:
            self.exchange.finish()

    @property
    def ended(self) -> bool:
        return self.failed or self.trouble is not None


def render_request(minor: int) -> RequestHead:
    return parse_head(b"POST /v1/completions HTTP/1.%d\r\nhost: h\r\n\r\n" % minor, LIMITS)


def check_relays(data: bytes, rng: Random) -> Reading:
    """See the module."""
    engine = Engine()
    upstream, _ = open_connection(engine)
    minor = rng.choice((0, 1, 1))
    serving = Serving(upstream, render_request(minor))
    reads = []
    for piece in cut(data, rng):
        if serving.ended:
            break
        reads.append(piece)
        upstream.data_received(piece)
        if rng.random() < 0.1:
            serving.exchange.pause()
            serving.exchange.resume()
    closed = not serving.ended
    if closed:
        close_connection(upstream)
    if not serving.ended:
        raise RuleBrokenError("the connection is closed and the request has not ended")
    engines = answers.replay(reads, closed)
    _compare(serving, engines, minor)
    head = upstream.head
    shape = (minor, engines.end, head.status, head.streams, head.chunked, head.content_length is None, serving.trouble)
    return Reading(engines.end == "complete", shape)


def _compare(serving: Serving, engines: answers.Answer, minor: int) -> None:
    client = serving.client
    if serving.failed:
        if client.received or engines.end != "failed":
            raise RuleBrokenError(f"{client.received!r} is relayed of an answer that is {engines.end}")
        return
    clients = _read_as_client(client.received, minor)
    if client.was_cut:
        ends_with_connection = minor == 0 and b"\r\ncontent-length:" not in client.received.partition(b"\r\n\r\n")[0]
        if engines.end == "complete" or (clients.end == "complete" and not ends_with_connection):
            raise RuleBrokenError(f"a cut connection looks complete: {clients}")
        return
    if clients.end != "complete":
        raise RuleBrokenError(f"the client waits for more than {clients}")
    body = clients.body
    if engines.end == "broken":
        at = body.rfind(TROUBLE)
        if not engines.streams or at < 0 or not body.endswith(b"}\n\n"):
            raise RuleBrokenError(f"a broken answer looks complete: {clients}")
        if not engines.body.startswith(body[:at]):
            raise RuleBrokenError(f"{body[:at]!r} is not what the engine sent: {engines.body!r}")
    elif (clients.status, body) != (engines.status, engines.body):
        raise RuleBrokenError(f"the client got {clients}, the engine sent {engines}")


def _read_as_client(received: bytes, minor: int) -> answers.Answer:
    """The one answer that the client reads."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "h"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    answer = answers.Answer()
    try:
        connection.receive_data(received)
        complete = answers._take_events(connection, answer)
        if not complete and minor == 0:
            connection.receive_data(b"")
            answers._take_events(connection, answer)
    except h11.RemoteProtocolError as error:
        if answer.status == 0 or minor:
            raise RuleBrokenError(f"the client cannot read {received!r}: {error}") from error
    if answer.end == "complete" and connection.trailing_data[0]:
        raise RuleBrokenError(f"{connection.trailing_data[0]!r} follows the answer")
    return answer


TARGET = Target("relays", answers.TARGET.corpus, answers.TARGET.change, check_relays)
