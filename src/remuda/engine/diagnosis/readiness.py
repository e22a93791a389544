"""Whether a starting engine can be given requests: it serves the right names, and one token really came.

Listening is not enough (vLLM listens before its first step was ever made), /health even less. Called by `supervise`
under its start timeout; ends with the facts the engine states about itself.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from remuda.engine.diagnosis.probe import NotAnsweredError, Probe

POLL_S = 0.1
"""Between two looks while nobody listens yet; a look costs a refused connection."""
TOKEN_TIMEOUT_S = 120.0
"""The first token may compile kernels; the start timeout bounds it all."""


class WrongNamesError(Exception):
    """Whoever listens serves other names than it was told to; no waiting changes that."""


async def wait_until_ready(
    probe: Probe, names: Sequence[str], on_listening: Callable[[], None]
) -> dict[str, int | str | None]:
    """Return what the engine says about itself once it is proven; WrongNamesError when it serves something else."""
    served = {str(entry.get("id")): entry for entry in await _listening(probe)}
    missing = [name for name in names if name not in served]
    if missing:
        raise WrongNamesError(f"it serves {', '.join(served)}, but not {', '.join(missing)}")
    on_listening()
    await _first_token(probe, names[0])
    metrics = await probe.ask_metrics()
    length = served[names[0]].get("max_model_len")
    return {
        "kv_tokens": metrics.kv_tokens if metrics else None,
        "max_model_len": int(length) if isinstance(length, int) else None,
        "version": await probe.ask_version(),
    }


async def _listening(probe: Probe) -> Sequence[dict[str, Any]]:
    """Its models, as soon as it has some."""
    while True:
        if models := await probe.ask_names():
            return models
        await asyncio.sleep(POLL_S)


async def _first_token(probe: Probe, name: str) -> None:
    """Ask until it answers: a refusal right after the start may pass, and the start timeout bounds us."""
    while True:
        try:
            await probe.ask_token(name, TOKEN_TIMEOUT_S)
        except NotAnsweredError:
            await asyncio.sleep(POLL_S * 5)
        else:
            return
