"""Decides when a starting engine is ready: it serves the right names on its own socket, and one token really came.

Listening is not enough, because vLLM listens before its first step, and its /health says even less. Nor are the right
names: another server may answer on the port. The module does not know processes; the caller says whose the socket is.
"""

import asyncio
from collections.abc import Callable, Sequence

from remuda.engine.diagnosis.probe import NotAnsweredError, Probe, ServedModel
from remuda.engine.status import EngineFacts

POLL_S = 0.1
"""Between two questions while nobody listens; a question costs a refused connection."""
TOKEN_TIMEOUT_S = 120.0
"""The first token may compile kernels; the start timeout bounds all of it."""


class ForeignServerError(Exception):
    """A process that is not part of the engine answers on its port."""


class WrongNamesError(Exception):
    """The engine serves other names than it was told to, and no waiting changes that."""


async def wait_until_ready(
    probe: Probe, names: Sequence[str], is_own_socket: Callable[[], bool], on_listening: Callable[[], None]
) -> EngineFacts:
    """Return the engine's facts once it is ready.

    `is_own_socket` says whether the socket that answers belongs to the engine. Raises ForeignServerError or
    WrongNamesError when the engine cannot become ready on this port or with these names.
    """
    served = {model.id: model for model in await _wait_for_models(probe)}
    if not is_own_socket():
        raise ForeignServerError
    missing = [name for name in names if name not in served]
    if missing:
        raise WrongNamesError(f"it serves {', '.join(served)}, but not {', '.join(missing)}")
    on_listening()
    await _wait_for_token(probe, names[0])
    metrics = await probe.fetch_metrics()
    return EngineFacts(
        kv_tokens=metrics.kv_tokens if metrics else None,
        max_model_len=served[names[0]].max_model_len,
        version=await probe.fetch_version(),
    )


async def _wait_for_models(probe: Probe) -> Sequence[ServedModel]:
    while True:
        if models := await probe.fetch_models():
            return models
        await asyncio.sleep(POLL_S)


async def _wait_for_token(probe: Probe, name: str) -> None:
    """Ask until a token comes: the engine may refuse the first requests. The start timeout bounds the wait."""
    while True:
        try:
            await probe.ask_token(name, TOKEN_TIMEOUT_S)
        except NotAnsweredError:
            await asyncio.sleep(POLL_S * 5)
        else:
            return
