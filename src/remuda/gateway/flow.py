"""The life of a request. Read this first.

Each step is a named call into a room: `access` says who asks, `api` what is asked, `serving` who answers, `record` what
happened. A step that refuses the request raises Refused with the answer. The coroutine is driven by the protocol
callbacks themselves (`waiting`): a step that does not wait costs a call.
"""

import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from remuda.gateway.access.admission import Admission
from remuda.gateway.access.identify import Identifier
from remuda.gateway.api import problems
from remuda.gateway.api.ask import parse_ask, parse_small
from remuda.gateway.api.problems import Refused
from remuda.gateway.api.refusals import dialect_of, explain, status_of, write_problem
from remuda.gateway.api.routes import Page
from remuda.gateway.api.rules import FieldRules
from remuda.gateway.http.cors import Cors
from remuda.gateway.http.exchange import ClientGone, Exchange, Handler
from remuda.gateway.http.refusal import Refusal
from remuda.gateway.record.ledger import Ledger
from remuda.gateway.record.record import Record
from remuda.gateway.serving.choose import choose_model
from remuda.gateway.serving.directory import Directory
from remuda.gateway.serving.forward import Forwarder, Request
from remuda.gateway.serving.pages import Pages
from remuda.gateway.serving.relay import relay
from remuda.gateway.serving.side import Sides
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Side
from remuda.gateway.waiting import Turns
from remuda.policy.outcome import Outcome

_log = logging.getLogger("remuda.gateway")


@dataclass(frozen=True)
class Parts:
    """What the steps of a request use."""

    settings: GatewaySettings
    identifier: Identifier
    admission: Admission
    directory: Directory
    forwarder: Forwarder
    sides: Sides
    ledger: Ledger
    turns: Turns


class Flow(Handler):
    """Serves requests with what it is given."""

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        self._settings = settings
        self._identifier = parts.identifier
        self._admission = parts.admission
        self._directory = parts.directory
        self._forwarder = parts.forwarder
        self._sides = parts.sides
        self._ledger = parts.ledger
        self._turns = parts.turns
        self._rules = FieldRules(settings.client_fields.allow, settings.client_fields.deny)
        self._cors = Cors(settings.cors.origins)
        self.pages: Pages | None = None
        """Set right after: pages show figures of the connections, which need this flow."""

    def serve(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        return self._serve(exchange)

    async def _serve(self, exchange: Exchange) -> None:
        """One request, from its checked head to its one outcome."""
        record = Record()
        self._admission.in_flight += 1
        try:
            exchange.extra_lines = self._cors.lines_for(exchange.head.origin)
            identity = self._identifier.identify(exchange, record)  # a route of the allow-list, and who asks for it
            route, caller = identity.route, identity.caller
            self._admission.admit(exchange, route)  # not too many, and not while draining
            if isinstance(route, Page):
                assert self.pages is not None
                outcome = await self.pages.answer(route, exchange, record, caller)
            elif isinstance(route, Side):
                outcome = await self._sides.answer(exchange, record, route)
            else:
                limit = self._settings.limits.body_bytes
                body = exchange.take_body(limit)
                if body is None:
                    body = await exchange.read_body(limit)
                head, rules = exchange.head, self._rules
                ask = parse_small(route, body, head, rules) or await parse_ask(
                    route, body, head, rules, self._turns.next
                )
                served = choose_model(self._directory, ask, caller)
                record.model_name = served.model.route.name
                request = Request(ask, served, exchange, exchange.head.block)
                attempt = await self._forwarder.forward(request, record)  # pick, send; elsewhere again if allowed
                idle_s = self._settings.timeouts.idle_s
                trouble = await relay(exchange, record, attempt, idle_s, cut_usage=request.asks_for_usage)
                outcome = self._forwarder.judge(attempt, trouble)
        except Refused as refused:
            outcome = write_problem(exchange, refused.problem, dialect_of(record.route_name), refused.status or 0)
        except Refusal as refusal:
            outcome = self._write_refusal(exchange, record, refusal)
        except ClientGone:
            outcome = Outcome.CLIENT_TIMEOUT if exchange.reader_stuck else Outcome.CLIENT_DISCONNECTED
        except Exception as error:  # noqa: BLE001 - reason: a bug in one request must not take down the others
            outcome = self._write_bug(exchange, record, error)
        self._admission.in_flight -= 1
        self._ledger.close(exchange, record, outcome)
        exchange.finish()

    def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        """Answer bytes that never became a request."""
        exchange.extra_lines = self._cors.lines_for(None)
        self._ledger.count_malformed(self._write_refusal(exchange, Record(), refusal))

    def _write_refusal(self, exchange: Exchange, record: Record, refusal: Refusal) -> Outcome:
        problem = explain(refusal, self._settings)
        return write_problem(exchange, problem, dialect_of(record.route_name), status_of(refusal, problem))

    def _write_bug(self, exchange: Exchange, record: Record, error: Exception) -> Outcome:
        _log.error("request %s failed", exchange.request_id.decode(), exc_info=error)
        if exchange.answered:
            exchange.cut()
            return Outcome.INTERNAL_ERROR
        exchange.keep_alive = False
        return write_problem(exchange, problems.INTERNAL_ERROR, dialect_of(record.route_name))
