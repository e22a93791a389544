"""Which requests come in when the gateway is full, or drains."""

import pytest

from remuda.gateway.access.admission import Admission
from remuda.gateway.api import routes
from remuda.gateway.api.problems import Refused
from remuda.gateway.http.exchange import Exchange, Link
from remuda.gateway.http.head import RequestHead
from remuda.vllm.routes import ROUTES

CHAT = ROUTES["POST", "/v1/chat/completions"]
PROBES = [routes.HEALTH, routes.READY, routes.MODEL_READY, routes.METRICS]
OTHERS = [routes.MODELS, routes.MODEL, routes.GENERATE, routes.BATCH_GENERATE, routes.OPTIONS, CHAT]
SHUTTING_DOWN = "The gateway is shutting down. Try again."
REQUESTS_FULL = "The gateway already answers 3 requests, which is its limit. Try again in 1 s."
CONNECTIONS_FULL = "The gateway already has 5 connections, which is its limit. Try again in 1 s."


def judge(route, *, in_flight: int = 1, closed: bool = False, probe_only: bool = False) -> str:
    """The refusal; empty when the request is let in."""
    admission = Admission(3, 5)
    admission.in_flight, admission.closed = in_flight, closed
    exchange = Exchange(Link(), RequestHead(b"GET", b"/", 1), 0)
    exchange.probe_only = probe_only
    try:
        admission.admit(exchange, route)
    except Refused as refused:
        return refused.problem.message
    return ""


@pytest.mark.parametrize(
    ("state", "others"),
    [
        ({"in_flight": 3}, ""),
        ({"in_flight": 4}, REQUESTS_FULL),
        ({"in_flight": 4000}, REQUESTS_FULL),
        ({"closed": True}, SHUTTING_DOWN),
        ({"closed": True, "in_flight": 4}, SHUTTING_DOWN),
        ({"probe_only": True}, CONNECTIONS_FULL),
        ({"probe_only": True, "in_flight": 4}, CONNECTIONS_FULL),
        ({"probe_only": True, "closed": True}, SHUTTING_DOWN),
    ],
    ids=["room", "full", "over-full", "drains", "drains-and-full", "beyond-the-connections", "both-full", "both"],
)
def test_probes_come_in_and_others_are_told_why_not(state, others):
    assert {judge(route, **state) for route in PROBES} == {""}
    assert {judge(route, **state) for route in OTHERS} == {others}
