"""The life of a request. Read this first.

Each step is a named call into the module of that name; whatever refuses the request raises Refused with the answer.
The coroutine is driven by the protocol callbacks themselves (`waiting`): a step that does not wait costs a call.
"""

from typing import TYPE_CHECKING

from remuda.gateway.api.ask import parse_ask
from remuda.gateway.api.problems import Refused
from remuda.gateway.api.routes import Page, resolve_route
from remuda.gateway.http.exchange import ClientGone, Exchange
from remuda.gateway.serving.choose import choose_model
from remuda.gateway.serving.forward import Request, forward
from remuda.gateway.serving.pages import ANSWERS
from remuda.gateway.serving.relay import relay
from remuda.policy.outcome import Outcome

if TYPE_CHECKING:
    from remuda.gateway.app import Gateway


async def serve(gateway: "Gateway", exchange: Exchange) -> None:
    """One request, from its checked head to its one outcome."""
    limit = gateway.settings.body_bytes
    try:
        gateway.admit(exchange)  # not too many, not while draining; browsers by CORS
        route = resolve_route(exchange.head.method, exchange.head.path)  # the allow-list, or a page of our own
        exchange.route_name = route.name
        caller = gateway.authenticate(exchange, route)  # before a byte of the body is read
        if isinstance(route, Page):
            outcome = await ANSWERS[route](gateway, exchange, caller)
        else:
            body = exchange.take_body(limit) or await exchange.read_body(limit)
            ask = parse_ask(route, body, exchange.head, gateway.field_rules)
            served = choose_model(gateway.directory, ask, caller)
            exchange.model_name = served.model.route.name
            request = Request(ask, served, exchange)
            lease = await forward(gateway, request, exchange)  # pick, send; again elsewhere while that is allowed
            outcome = await relay(gateway, exchange, lease)  # to the last byte; gives engine and connection back
    except Refused as refused:
        outcome = exchange.write_problem(refused.problem, refused.status)
    except ClientGone:
        outcome = Outcome.CLIENT_TIMEOUT if exchange.reader_stuck else Outcome.CLIENT_DISCONNECTED
    gateway.account(exchange, outcome)
    exchange.finish()
