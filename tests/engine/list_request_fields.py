"""Print, as JSON, what vLLM reads from a request. Runs with the Python of the engine.

`routes`: the fields of each route's request classes, by the name of the route. `parts`: the types of content parts that
carry media, and the keys of content parts. `headers`: the headers that change how a request is served.
"""

import json
import typing

from pydantic import BaseModel
from vllm.entrypoints.anthropic.protocol import AnthropicCountTokensRequest, AnthropicMessagesRequest
from vllm.entrypoints.generate.base import serving
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.pooling.classify.protocol import ClassificationRequest
from vllm.entrypoints.pooling.embed.protocol import EmbeddingRequest
from vllm.entrypoints.pooling.pooling.protocol import PoolingRequest
from vllm.entrypoints.pooling.scoring.protocol import RerankRequest, ScoreRequest
from vllm.entrypoints.serve.tokenize.protocol import DetokenizeRequest, TokenizeRequest
from vllm.entrypoints.speech_to_text.transcription.protocol import TranscriptionRequest
from vllm.entrypoints.speech_to_text.translation.protocol import TranslationRequest
from vllm.renderers import chat_utils

ROUTES = {
    "chat": ChatCompletionRequest,
    "completions": CompletionRequest,
    "responses": ResponsesRequest,
    "messages": AnthropicMessagesRequest,
    "count_tokens": AnthropicCountTokensRequest,
    "embeddings": EmbeddingRequest,
    "tokenize": TokenizeRequest,
    "detokenize": DetokenizeRequest,
    "score": ScoreRequest,
    "rerank": RerankRequest,
    "classify": ClassificationRequest,
    "pooling": PoolingRequest,
    "transcriptions": TranscriptionRequest,
    "translations": TranslationRequest,
}


def list_fields(kind: object) -> set[str]:
    """The names under which a request class, or a union of several, reads fields."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name for field, info in kind.model_fields.items() for name in (field, info.alias) if name}
    return {name for part in typing.get_args(kind) for name in list_fields(part)}


print(
    json.dumps(
        {
            "routes": {route: sorted(list_fields(kind)) for route, kind in ROUTES.items()},
            "media_parts": sorted(chat_utils._MEDIA_CONTENT_PART_KEYS),
            "part_keys": sorted(chat_utils._KNOWN_CONTENT_PART_FIELDS),
            "headers": sorted(
                value.lower() for name, value in vars(serving).items() if name.endswith("_HEADER") and value
            ),
        }
    )
)
