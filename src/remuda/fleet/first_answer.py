"""The first answer: one short question to one model, so that `up` ends with a proof that the fleet answers.

The question goes through the gateway like any client's. When the gateway wants a key and REMUDA_API_KEY holds none, it
goes to the engine directly. A question that fails is reported and stops nothing.
"""

import logging
import os
import time

from remuda.fleet import chat_client
from remuda.fleet.plan import FleetPlan
from remuda.fleet.reporting import events, views
from remuda.gateway.table import Endpoint, ModelRoute, Table

QUESTION = "What is Remuda?"
START_OF_TEXT = "Once upon a time"  # for models that only complete text
ANSWER_TOKENS = 120  # a few sentences: a big model on a CPU still finishes in a minute

_log = logging.getLogger("remuda.fleet")


async def ask_first(table: Table, plan: FleetPlan, url: str, emit: events.Emit) -> str:
    """Ask the question, stream the answer as events, and return the question; "" when no model takes text."""
    chat = views.pick_route(table, "chat")
    route = chat or views.pick_route(table, "completion")
    if route is None:
        return ""
    question = QUESTION if chat else START_OF_TEXT
    emit(events.Question(model=route.served_name, text=question))
    emit(await _stream(_pick_address(route, plan, url), route, question, emit))
    return question


async def _stream(
    address: chat_client.Address, route: ModelRoute, question: str, emit: events.Emit
) -> events.AnswerEnd:
    began_at = time.monotonic()
    tokens = 0
    try:
        pieces = chat_client.stream_answer(
            address,
            route.served_name,
            [{"role": "user", "content": question}],
            chat_client.SamplingParameters(max_tokens=ANSWER_TOKENS, temperature=0.0),
            chat="chat" in route.capabilities,
        )
        async for piece in pieces:
            tokens = piece.tokens or tokens
            if piece.text:
                emit(events.AnswerText(text=piece.text))
    except chat_client.ChatError as error:
        return events.AnswerEnd(problem=error.message)
    except Exception as error:  # noqa: BLE001 - reason: the engines serve, whatever is wrong with this question
        _log.exception("the first question could not be asked")
        return events.AnswerEnd(problem=views.explain_error(error).message)
    return events.AnswerEnd(tokens=tokens, seconds=time.monotonic() - began_at)


def _pick_address(route: ModelRoute, plan: FleetPlan, url: str) -> chat_client.Address:
    key = os.environ.get("REMUDA_API_KEY", "")
    if key or not plan.needs_key:
        return chat_client.Address(url, key, is_ours=True)
    engine = route.endpoints[0]
    return chat_client.Address(_render_engine_url(engine), engine.api_key or "")


def _render_engine_url(endpoint: Endpoint) -> str:
    scheme = "https" if endpoint.tls else "http"
    return f"{scheme}://{endpoint.host}:{endpoint.port}{endpoint.path_prefix}"
