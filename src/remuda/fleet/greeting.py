"""The first answer: one short question to one model, so that `up` ends with proof instead of a promise.

Asked through the gateway like any client's; only where the gateway wants a key that nobody gave us
(REMUDA_API_KEY), the engine is asked directly. A question that fails is told and stops nothing. Called by
`supervisor`.
"""

import os
import time

from remuda.fleet import events, talk, wording
from remuda.fleet.plan import FleetPlan
from remuda.gateway.table import Endpoint, ModelRoute, Table

QUESTION = "What is Remuda?"
START_OF_TEXT = "Once upon a time"  # for models that only complete text
ANSWER_TOKENS = 120  # a few sentences: a big model on a CPU still finishes in a minute


async def ask_first(table: Table, plan: FleetPlan, url: str, emit: events.Emit) -> str:
    """Put the question, stream the answer as events; returns what was asked ("" when no model takes text)."""
    chat = wording.pick_route(table, "chat")
    route = chat or wording.pick_route(table, "completion")
    if route is None:
        return ""
    question = QUESTION if chat else START_OF_TEXT
    emit(events.Question(model=route.served_name, text=question))
    emit(await _stream(_pick_address(route, plan, url), route, question, emit))
    return question


async def _stream(address: talk.Address, route: ModelRoute, question: str, emit: events.Emit) -> events.AnswerEnd:
    began_s = time.monotonic()
    tokens = 0
    try:
        pieces = talk.stream_answer(
            address,
            route.served_name,
            [{"role": "user", "content": question}],
            talk.Wish(max_tokens=ANSWER_TOKENS, temperature=0.0),
            chat="chat" in route.capabilities,
        )
        async for piece in pieces:
            tokens = piece.tokens or tokens
            if piece.text:
                emit(events.AnswerText(text=piece.text))
    except talk.TalkError as error:
        return events.AnswerEnd(problem=error.message)
    return events.AnswerEnd(tokens=tokens, seconds=time.monotonic() - began_s)


def _pick_address(route: ModelRoute, plan: FleetPlan, url: str) -> talk.Address:
    key = os.environ.get("REMUDA_API_KEY", "")
    if key or not plan.needs_key:
        return talk.Address(url, key, is_ours=True)
    engine = route.endpoints[0]
    return talk.Address(render_engine_url(engine), engine.api_key or "")


def render_engine_url(endpoint: Endpoint) -> str:
    """An engine's own address."""
    scheme = "https" if endpoint.tls else "http"
    return f"{scheme}://{endpoint.host}:{endpoint.port}{endpoint.path_prefix}"
