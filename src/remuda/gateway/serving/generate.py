"""/generate and /batch-generate: our own two routes that engines answer, through their /v1/completions.

`simple` translates, this module moves: one engine request per prompt, held in memory (they are small) or translated
event by event. Entries of a batch run side by side, so many at a time; each fails alone. Pages of `resolve`, so `flow`
has authenticated the caller; everything an engine sees goes through `forward` like any other request.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from remuda.gateway.access.keys import Principal
from remuda.gateway.api import generate as simple
from remuda.gateway.api import problems
from remuda.gateway.api.ask import Ask
from remuda.gateway.api.problems import Problem, Refused
from remuda.gateway.http.exchange import JSON_TYPE, ClientGone, Exchange
from remuda.gateway.http.head import RequestHead
from remuda.gateway.serving.choose import choose_model
from remuda.gateway.serving.directory import Lease, Served
from remuda.gateway.serving.forward import Request, forward
from remuda.gateway.serving.relay import Relay, judge, read_usage
from remuda.gateway.upstream.connection import Taker, Upstream
from remuda.gateway.waiting import Run, Signal
from remuda.policy.health import Event
from remuda.policy.outcome import Outcome
from remuda.vllm.routes import ROUTES

if TYPE_CHECKING:
    from remuda.gateway.app import Gateway

_COMPLETIONS: Final = ROUTES["POST", "/v1/completions"]


async def answer_generate(gateway: "Gateway", exchange: Exchange, caller: Principal) -> Outcome:
    """One prompt, one text; or a stream of it."""
    request = simple.parse_generate(await _read_body(gateway, exchange))
    if isinstance(request, Problem):
        raise Refused(request)
    served = _choose_model(gateway, request, caller)
    exchange.model_name = served.model.route.name
    lease = await _send(gateway, exchange, request, served)
    assert lease.upstream is not None
    if request.stream and lease.upstream.head.streams:
        return await _relay_stream(gateway, exchange, lease, _said_name(request, served))
    status, body = await _collect(gateway, exchange, lease)
    outcome = judge(gateway, lease, status)
    if status != 200:
        exchange.write_answer(status, JSON_TYPE, body)
        return outcome
    exchange.write_json(200, _render_generated(body, _said_name(request, served)))
    return outcome


async def answer_batch(gateway: "Gateway", exchange: Exchange, caller: Principal) -> Outcome:
    """Many prompts, each its own request; the results in their order."""
    entries = simple.parse_batch(await _read_body(gateway, exchange))
    if isinstance(entries, Problem):
        raise Refused(entries)
    batch = Batch(gateway, exchange, caller, entries)
    try:
        batch.fill()
        await batch.finished
    finally:
        batch.cancel()
    exchange.write_json(200, simple.render_batch(batch.results))
    return Outcome.COMPLETED


class Batch:
    """The entries of one /batch-generate on their way."""

    def __init__(
        self, gateway: "Gateway", exchange: Exchange, caller: Principal, entries: Sequence[simple.Generate | Problem]
    ) -> None:
        self.gateway = gateway
        self.exchange = exchange
        self.caller = caller
        self.entries = entries
        self.results: list[bytes] = [b""] * len(entries)
        self.finished: Signal[None] = Signal()
        self._next = 0
        self._running: set[Entry] = set()
        self._filling = False

    def fill(self) -> None:
        """Start entries up to the bound. An entry that ends at once does not nest another."""
        if self._filling:
            return
        self._filling = True
        while self._next < len(self.entries) and len(self._running) < self.gateway.settings.batch_concurrency:
            entry = Entry(self, self._next)
            self._next += 1
            self._running.add(entry)
            entry.advance()
        self._filling = False
        if not self._running:
            self.finished.set(None)

    def end(self, entry: "Entry") -> None:
        self._running.discard(entry)
        self.fill()

    def cancel(self) -> None:
        """The client has left: so do its entries."""
        self._next = len(self.entries)
        for entry in list(self._running):
            entry.throw(ClientGone())


class Entry(Run):
    """One of them."""

    def __init__(self, batch: Batch, index: int) -> None:
        self._batch = batch
        self._index = index
        self.coroutine = self._run()

    async def _run(self) -> None:
        batch = self._batch
        try:
            batch.results[self._index] = await _answer_entry(batch, batch.entries[self._index])
        except Refused as refused:
            batch.results[self._index] = simple.render_entry_error(refused.problem)
        except ClientGone:
            return
        batch.end(self)

    def crashed(self, error: BaseException) -> None:
        """A bug: this entry fails alone, too."""
        self._batch.gateway.log_crash(self._batch.exchange, error)
        self._batch.results[self._index] = simple.render_entry_error(problems.INTERNAL_ERROR)
        self._batch.end(self)


async def _answer_entry(batch: Batch, request: simple.Generate | Problem) -> bytes:
    if isinstance(request, Problem):
        return simple.render_entry_error(request)
    gateway, exchange = batch.gateway, batch.exchange
    served = _choose_model(gateway, request, batch.caller)
    exchange.model_name = served.model.route.name
    lease = await _send(gateway, exchange, request, served)
    status, body = await _collect(gateway, exchange, lease)
    judge(gateway, lease, status)
    if status != 200:
        return simple.render_engine_refusal(status, body, _said_name(request, served))
    return _render_generated(body, _said_name(request, served))


async def _read_body(gateway: "Gateway", exchange: Exchange) -> bytes:
    limit = gateway.settings.body_bytes
    _say_json(exchange.head)
    return exchange.take_body(limit) or await exchange.read_body(limit)


def _say_json(head: RequestHead) -> None:
    """What goes on to the engine is ours and JSON, whatever the client called its body: plain `curl -d` says form."""
    if head.content_type == b"application/json":
        return
    kept = [line for line in head.forwarded if line.partition(b":")[0].lower() != b"content-type"]
    head.content_type = b"application/json"
    head.forwarded = [*kept, b"content-type: application/json"]
    head.block = b"\r\n".join(head.forwarded) + b"\r\n"


def _choose_model(gateway: "Gateway", request: simple.Generate, caller: Principal) -> Served:
    ask = Ask(_COMPLETIONS, b"")
    if request.model is not None:
        ask.model = msgspec.json.encode(request.model)
    ask.max_tokens = request.max_tokens
    return choose_model(gateway.directory, ask, caller)


async def _send(gateway: "Gateway", exchange: Exchange, request: simple.Generate, served: Served) -> Lease:
    named = Served(served.canonical, served.model, served.adapter)
    ask = Ask(_COMPLETIONS, simple.render_completion(request, named.canonical))
    return await forward(gateway, Request(ask, named, exchange), exchange)


def _said_name(request: simple.Generate, served: Served) -> str:
    return request.model or served.canonical


def _render_generated(body: bytes, model: str) -> bytes:
    try:
        return simple.render_generated(body, model)
    except ValueError as error:
        raise Refused(problems.engine_failed(model, f"its answer makes no sense ({error})")) from None


async def _collect(gateway: "Gateway", exchange: Exchange, lease: Lease) -> tuple[int, bytes]:
    """The whole answer, in memory."""
    upstream = lease.upstream
    assert upstream is not None
    exchange.first_byte_s = exchange.first_byte_s or upstream.heard_at
    collector = Collector(upstream, gateway.settings.answer_bytes)
    try:
        body = await collector.collect(gateway.settings.idle_timeout_s)
    except EngineBroke as broke:
        gateway.directory.see(lease.engine, Event.BROKEN)
        raise Refused(problems.engine_failed(exchange.model_name, str(broke))) from None
    finally:
        lease.close()
    exchange.answer_bytes += len(body)
    usage = read_usage(body)
    if usage is not None:
        before = exchange.usage or (0, 0)
        exchange.usage = (before[0] + usage[0], before[1] + usage[1])
    return upstream.head.status, body


class EngineBroke(Exception):  # noqa: N818 - what became of an answer
    """It stopped before its end."""


class Collector(Taker):
    """Keeps the body that it takes."""

    def __init__(self, upstream: Upstream, limit: int) -> None:
        self._upstream = upstream
        self._limit = limit
        self._parts = [upstream.take_parts()]
        self._size = 0
        self._finished: Signal[bytes] = Signal()

    async def collect(self, idle_timeout_s: float) -> bytes:
        if self._upstream.complete:
            return self._parts[0]
        self._upstream.relay_to(self, idle_timeout_s)
        return await self._finished

    def take(self, payload: bytes) -> None:
        self._size += len(payload)
        if self._size > self._limit:
            self._finished.fail(EngineBroke(f"its answer is larger than {self._limit} bytes"))
        else:
            self._parts.append(payload)

    def end(self) -> None:
        self._finished.set(b"".join(self._parts))

    def broken(self, detail: str) -> None:
        self._finished.fail(EngineBroke(detail))


async def _relay_stream(gateway: "Gateway", exchange: Exchange, lease: Lease, model: str) -> Outcome:
    assert lease.upstream is not None
    stream = GeneratedRelay(exchange, lease.upstream, model)
    try:
        await stream.run(gateway.settings.idle_timeout_s)
    finally:
        lease.close()
    return judge(gateway, lease, lease.upstream.head.status, stream.trouble)


class GeneratedRelay(Relay):
    """A stream of /v1/completions on its way out as one of /generate."""

    def __init__(self, exchange: Exchange, upstream: Upstream, model: str) -> None:
        super().__init__(exchange, upstream)
        self._translation = simple.GeneratedStream(model)

    def _choose_framing(self) -> bytes:
        """What is said has a length of its own."""
        return self._frame_anew()

    def frame(self, payload: bytes) -> bytes:
        if self.trouble:
            return b""
        self.recent.append(payload)
        self.events += payload.count(b"\n\n")
        self.bytes += len(payload)
        try:
            said = self._translation.feed(payload)
        except ValueError as error:
            self.trouble = f"its events make no sense ({error})"
            return b""
        return b"%x\r\n%b\r\n" % (len(said), said) if said and self.chunked else said

    def take_chunk(self, chunk: bytes, start: int) -> None:
        """Nothing goes out as it came."""
        self.take(chunk[start:-2])

    def end(self) -> None:
        """What could not be translated does not end as if nothing had been missing."""
        if self.trouble:
            self.broken(self.trouble)
        else:
            super().end()
