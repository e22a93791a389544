"""The answer to each reason for which the HTTP layer refuses a client, and how any problem is written.

Does not decide anything.
"""

from collections.abc import Callable
from typing import Final

from remuda.gateway.api import problems
from remuda.gateway.api.problems import Dialect, Problem
from remuda.gateway.http.exchange import JSON_TYPE, Exchange
from remuda.gateway.http.refusal import Reason, Refusal
from remuda.gateway.settings import GatewaySettings
from remuda.policy.outcome import Outcome

_ANTHROPIC_ROUTES: Final = frozenset({"messages", "count_tokens"})


def dialect_of(route_name: str) -> Dialect:
    """The shape of errors that clients of this route expect."""
    return Dialect.ANTHROPIC if route_name in _ANTHROPIC_ROUTES else Dialect.OPENAI


def explain(refusal: Refusal, settings: GatewaySettings) -> Problem:
    """What a refused client is told."""
    return _PROBLEMS[refusal.reason](refusal, settings)


_PROBLEMS: Final[dict[Reason, Callable[[Refusal, GatewaySettings], Problem]]] = {
    Reason.MALFORMED: lambda refusal, _: problems.malformed_http(refusal.detail),
    Reason.EXPECTATION: lambda *_: problems.malformed_http("the only Expect served here is 100-continue"),
    Reason.HEAD_TOO_LARGE: lambda _, settings: problems.headers_too_large(settings.limits.header_bytes),
    Reason.HEAD_TIMEOUT: lambda _, settings: problems.request_timeout(settings.timeouts.header_s),
    Reason.BODY_TOO_LARGE: lambda _, settings: problems.body_too_large(settings.limits.body_bytes),
    Reason.BODY_TIMEOUT: lambda _, settings: problems.request_timeout(settings.timeouts.body_s),
    Reason.UPLOAD_TIMEOUT: lambda _, settings: problems.upload_timeout(settings.upload_timeout_s),
    Reason.BODIES_FULL: lambda _, settings: problems.gateway_full_of_bodies(settings.bodies_bytes),
    Reason.CLIENT_BODIES_FULL: lambda _, settings: problems.client_full_of_bodies(settings.client_bodies_bytes),
    Reason.CONNECTIONS_FULL: lambda _, settings: problems.gateway_full_of_connections(settings.limits.connections),
}


def status_of(refusal: Refusal, problem: Problem) -> int:
    """The status to send: the refusal's own where it has one."""
    if refusal.reason is Reason.EXPECTATION:
        return 417
    return refusal.status or problem.status


def write_problem(exchange: Exchange, problem: Problem, dialect: Dialect, status: int = 0) -> Outcome:
    """Say what is wrong; the outcome it counts as."""
    headers = JSON_TYPE
    for name, value in problem.headers:
        if name == "connection":
            exchange.keep_alive = False
        else:
            headers += b"%b: %b\r\n" % (name.encode(), value.encode())
    headers += b"x-remuda-hop: %b\r\n" % problem.code.hop.encode()
    exchange.write_answer(status or problem.status, headers, problem.body(exchange.request_id.decode(), dialect))
    return problem.outcome
