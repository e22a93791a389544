"""/generate and /batch-generate: two routes of our own that engines answer, through their /v1/completions.

`api.generate` translates, this module moves: one engine request per prompt, held in memory (they are small) or
translated event by event. Entries of a batch run side by side, so many at a time; each fails alone. Everything that an
engine sees goes through `forward` like any other request.
"""

import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from remuda.gateway.access.keys import Principal
from remuda.gateway.api import generate, generate_request, problems
from remuda.gateway.api.ask import Ask
from remuda.gateway.api.generate import GeneratedStream
from remuda.gateway.api.generate_request import Generate
from remuda.gateway.api.problems import Dialect, Problem, Refused
from remuda.gateway.api.rules import FieldRules
from remuda.gateway.http.exchange import JSON_TYPE, ClientGone, Exchange
from remuda.gateway.record.ledger import Ledger
from remuda.gateway.record.record import Record
from remuda.gateway.serving.attempt import Attempt
from remuda.gateway.serving.choose import choose_model
from remuda.gateway.serving.collect import AnswerBroken, Collector
from remuda.gateway.serving.directory import Directory, Served
from remuda.gateway.serving.forward import Forwarder, Request
from remuda.gateway.serving.relay import Relay, note_usage
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.upstream.connection import Upstream
from remuda.gateway.waiting import Run, Signal, Turns
from remuda.policy.outcome import Outcome
from remuda.vllm.routes import ROUTES

_log = logging.getLogger("remuda.gateway")
_COMPLETIONS: Final = ROUTES["POST", "/v1/completions"]


class Generator:
    """Answers both routes with the engines of a directory."""

    def __init__(
        self, settings: GatewaySettings, directory: Directory, forwarder: Forwarder, ledger: Ledger, turns: Turns
    ) -> None:
        self.settings = settings
        self._turns = turns
        self.ledger = ledger
        self._directory = directory
        self._forwarder = forwarder
        self._rules = FieldRules(settings.client_fields.allow, settings.client_fields.deny)

    async def answer(self, exchange: Exchange, record: Record, caller: Principal) -> Outcome:
        """One prompt, one text; or a stream of it."""
        request = await generate_request.read_generate(await self._read_body(exchange), self._rules, self._turns.next)
        if isinstance(request, Problem):
            raise Refused(request)
        served = self._choose_model(request, caller)
        record.model_name = served.model.route.name
        attempt = await self._send(exchange, record, request, served)
        name = request.model or served.canonical
        upstream = attempt.upstream
        if request.stream and upstream.head.streams:
            return await self._relay_stream(exchange, record, attempt, name)
        status = upstream.head.status
        body = await self._collect(record, attempt)
        outcome = self._forwarder.judge(attempt)
        if status == 200:
            exchange.write_json(200, _render_generated(body, name))
        else:
            exchange.write_answer(status, JSON_TYPE, body)
        return outcome

    async def answer_batch(self, exchange: Exchange, record: Record, caller: Principal) -> Outcome:
        """Many prompts, each its own request; the results in their order."""
        entries = await generate_request.read_batch(await self._read_body(exchange), self._rules, self._turns.next)
        if isinstance(entries, Problem):
            raise Refused(entries)
        record.is_batch = True
        batch = Batch(self, exchange, record, caller, entries)
        try:
            batch.fill()
            await batch.finished
        finally:
            batch.cancel()
        exchange.write_json(200, generate.render_batch(batch.results))
        return Outcome.COMPLETED

    async def answer_entry(
        self, exchange: Exchange, record: Record, caller: Principal, request: Generate | Problem
    ) -> bytes:
        """The result of one entry of a batch. `record` is the entry's own: it has its own tries."""
        if isinstance(request, Problem):
            return generate.render_entry_error(request)
        served = self._choose_model(request, caller)
        record.model_name = served.model.route.name
        attempt = await self._send(exchange, record, request, served)
        status = attempt.upstream.head.status
        body = await self._collect(record, attempt)
        self._forwarder.judge(attempt)
        name = request.model or served.canonical
        if status != 200:
            return generate.render_engine_refusal(status, body, name)
        return _render_generated(body, name)

    async def _read_body(self, exchange: Exchange) -> bytes:
        """The body. Clients may call it anything: plain `curl -d` says that it is a form."""
        limit = self.settings.limits.body_bytes
        body = exchange.take_body(limit)
        return await exchange.read_body(limit) if body is None else body

    def _choose_model(self, request: Generate, caller: Principal) -> Served:
        ask = Ask(_COMPLETIONS, b"")
        if request.model is not None:
            ask.model = msgspec.json.encode(request.model)
        ask.max_tokens = request.max_tokens
        return choose_model(self._directory, ask, caller)

    async def _send(self, exchange: Exchange, record: Record, request: Generate, served: Served) -> Attempt:
        named = Served(served.canonical, served.model, served.adapter)
        ask = Ask(_COMPLETIONS, generate.render_completion(request, named.canonical))
        return await self._forwarder.forward(Request(ask, named, exchange, _json_lines(exchange)), record)

    async def _collect(self, record: Record, attempt: Attempt) -> bytes:
        """The whole answer, in memory."""
        record.first_byte_at = attempt.heard_at
        collector = Collector(attempt.upstream, self.settings.answer_bytes)
        try:
            body = await collector.collect(self.settings.timeouts.idle_s)
        except AnswerBroken as broken:
            self._forwarder.judge(attempt, str(broken))
            raise Refused(problems.engine_failed(record.model_name, str(broken))) from None
        finally:
            attempt.close()
        record.answer_bytes = len(body)
        note_usage(record, body)
        return body

    async def _relay_stream(self, exchange: Exchange, record: Record, attempt: Attempt, model: str) -> Outcome:
        stream = GeneratedRelay(exchange, record, attempt.upstream, model)
        try:
            await stream.run(self.settings.timeouts.idle_s)
        finally:
            attempt.close()
        return self._forwarder.judge(attempt, stream.trouble)


def _json_lines(exchange: Exchange) -> bytes:
    """The client's header lines for the engine. What the engine gets is ours and JSON."""
    kept = [line for line in exchange.head.forwarded if line.partition(b":")[0].lower() != b"content-type"]
    return b"\r\n".join([*kept, b"content-type: application/json\r\n"])


def _render_generated(body: bytes, model: str) -> bytes:
    try:
        return generate.render_generated(body, model)
    except ValueError as error:
        raise Refused(problems.engine_failed(model, f"its answer makes no sense ({error})")) from None


class Batch:
    """The entries of one /batch-generate on their way."""

    def __init__(
        self,
        generator: Generator,
        exchange: Exchange,
        record: Record,
        caller: Principal,
        entries: Sequence[Generate | Problem],
    ) -> None:
        self.generator = generator
        self.exchange = exchange
        self.caller = caller
        self.entries = entries
        self.results: list[bytes] = [b""] * len(entries)
        self.finished: Signal[None] = Signal()
        self._record = record
        self._next = 0
        self._running: set[Entry] = set()
        self._filling = False

    def fill(self) -> None:
        """Start entries up to the bound. An entry that ends at once does not nest another."""
        if self._filling:
            return
        self._filling = True
        most = self.generator.settings.batch_concurrency
        while self._next < len(self.entries) and len(self._running) < most:
            entry = Entry(self, self._next)
            self._next += 1
            self._running.add(entry)
            entry.advance()
        self._filling = False
        if not self._running:
            self.finished.set(None)

    def end(self, entry: "Entry") -> None:
        """An entry has its result."""
        self._record.add_entry(entry.record)
        self.generator.ledger.close_entry(entry.record)
        self._running.discard(entry)
        self.fill()

    def cancel(self) -> None:
        """The client has left, and nobody waits for its entries."""
        self._next = len(self.entries)
        for entry in list(self._running):
            entry.throw(ClientGone())


class Entry(Run):
    """One entry of a batch, with a record of its own."""

    def __init__(self, batch: Batch, index: int) -> None:
        self.record = Record()
        self._batch = batch
        self._index = index
        self.coroutine = self._run()

    async def _run(self) -> None:
        batch = self._batch
        try:
            batch.results[self._index] = await batch.generator.answer_entry(
                batch.exchange, self.record, batch.caller, batch.entries[self._index]
            )
        except Refused as refused:
            batch.results[self._index] = generate.render_entry_error(refused.problem)
        except ClientGone:
            return
        batch.end(self)

    def crashed(self, error: BaseException) -> None:
        """A bug: this entry fails alone, too."""
        _log.error("an entry of request %s failed", self._batch.exchange.request_id.decode(), exc_info=error)
        self._batch.results[self._index] = generate.render_entry_error(problems.INTERNAL_ERROR)
        self._batch.end(self)


class GeneratedRelay(Relay):
    """A stream of /v1/completions on its way out as one of /generate."""

    def __init__(self, exchange: Exchange, record: Record, upstream: Upstream, model: str) -> None:
        super().__init__(exchange, record, upstream, Dialect.OPENAI)
        self._translation = GeneratedStream(model)

    def _choose_framing(self) -> bytes:
        """The translation has a length of its own."""
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
        self.take(chunk[start:-2])

    def end(self) -> None:
        """A stream that could not be translated does not end as if nothing were missing."""
        if self.trouble:
            self.broken(self.trouble)
        else:
            super().end()
