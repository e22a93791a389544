"""The smallest request that an engine answers: one token, or what comes nearest to it for models that generate none.

An answered question is the only proof that an engine's core works. Pure values.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TokenQuestion:
    """A request small enough to be answered by any idle engine at once. The model's name is added to `body`."""

    path: str
    body: Mapping[str, Any] | None
    """None: a tenth of a second of sound in a multipart form, because speech models take nothing else."""


def token_question(capabilities: Collection[str]) -> TokenQuestion:
    """The smallest question that a model of these capabilities answers."""
    if {"chat", "completion", "code"} & set(capabilities):
        return TokenQuestion("/v1/completions", {"prompt": "Hi", "max_tokens": 1, "temperature": 0})
    if "transcription" in capabilities:
        return TokenQuestion("/v1/audio/transcriptions", None)
    if "embedding" in capabilities:
        return TokenQuestion("/v1/embeddings", {"input": "Hi"})
    if "classify" in capabilities:
        return TokenQuestion("/classify", {"input": "Hi"})
    return TokenQuestion("/score", {"text_1": "Hi", "text_2": "Hi"})
