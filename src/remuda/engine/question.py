"""The question an engine must answer before it counts as ready: one token, or the least its kind of model gives.

Apart from `probe`, which asks it, because planning an engine must not cost the import of an HTTP client.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TokenQuestion:
    """A request small enough to be answered by any idle engine at once."""

    path: str
    body: Mapping[str, Any] | None
    """None: a sound of a tenth of a second as multipart (speech models take nothing else)."""


def token_question(capabilities: tuple[str, ...]) -> TokenQuestion:
    """The smallest question a model of these capabilities answers."""
    if {"chat", "completion", "code"} & set(capabilities):
        return TokenQuestion("/v1/completions", {"prompt": "Hi", "max_tokens": 1, "temperature": 0})
    if "transcription" in capabilities:
        return TokenQuestion("/v1/audio/transcriptions", None)
    if "embedding" in capabilities:
        return TokenQuestion("/v1/embeddings", {"input": "Hi"})
    if "classify" in capabilities:
        return TokenQuestion("/classify", {"input": "Hi"})
    return TokenQuestion("/score", {"text_1": "Hi", "text_2": "Hi"})
