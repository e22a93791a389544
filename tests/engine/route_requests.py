"""One real request for every route that a gateway forwards, as bytes whose form no serialiser would write again.

The JSON has blanks and tabs in odd places and escapes every character outside ASCII, so that a body that was decoded
and encoded again on its way differs from the client's. Does not know engines or taps.
"""

import io
import json
import math
import struct
import wave
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

BOUNDARY: Final = "----part-of-a-test"
SAMPLE_RATE_HZ: Final = 16_000
ODD: Final = (" ,\n  ", "\t: ")
"""Separators of JSON that nobody writes."""
ALIASES: Final = {"small": "little", "guess": "hunch", "embed": "vectors", "judge": "grader", "listen": "ear"}
"""The models that the requests are for, each with the alias that its file gives it."""
DONE: Final = b"data: [DONE]"


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """A request to one route, and what tells a right answer from a wrong one."""

    path: str
    model: str
    """The model's own name, `metadata.name`."""
    fields: Mapping[str, object] = field(repr=False)
    answer: tuple[str, ...] = ()
    """Where the answer's JSON has the value that was asked for: it must be there, and not be empty."""
    last_event: bytes = b""
    """How the last event of a stream begins. A request with it asks for a stream."""
    form: bool = False
    """Send a multipart form with a sound instead of JSON."""

    @property
    def id(self) -> str:
        return f"{self.path} stream" if self.last_event else self.path

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={BOUNDARY}" if self.form else "application/json"

    def body(self, model: str) -> bytes:
        """The exact body, with this name for the model."""
        stream = {"stream": True} if self.last_event else {}
        if self.form:
            return render_form({"model": model, **self.fields, **stream})
        return json.dumps({**self.fields, "model": model, **stream}, separators=ODD).encode()


def render_form(fields: Mapping[str, object], sound: bytes | None = None) -> bytes:
    """A multipart form: a sound (one second of a tone unless given), then the fields."""
    mark = f"--{BOUNDARY}\r\n".encode()
    file = b'content-disposition: form-data; name="file"; filename="tone.wav"\r\ncontent-type: audio/wav\r\n\r\n'
    parts = [mark + file + (render_tone() if sound is None else sound)]
    for name, value in fields.items():
        text = json.dumps(value) if isinstance(value, bool) else str(value)
        parts.append(mark + f'content-disposition: form-data; name="{name}"\r\n\r\n{text}'.encode())
    return b"\r\n".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def render_tone(rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """A WAV file: one second of a tone of 440 Hz, in this many samples."""
    samples = (round(8000 * math.sin(math.tau * 440 * step / rate_hz)) for step in range(rate_hz))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate_hz)
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return buffer.getvalue()


QUESTION: Final = {"messages": [{"role": "user", "content": 'What is a café? 😀 "model": "other"'}]}
GREEDY: Final = {"temperature": 0.0, "max_tokens": 12}
USAGE: Final = {"stream_options": {"include_usage": True}}
PAIR: Final = {"query": "Where is the horse?", "documents": ["In the stable.", "It rains.", "A café."]}
SCORE: Final = {"text_1": "Where is the horse?", "text_2": ["In the stable.", "It rains."]}
SPEECH: Final = {"language": "en", "temperature": 0.0, "max_completion_tokens": 8}
TEXT: Final = ("choices", "text")

REQUESTS: Final = (
    RouteRequest("/v1/chat/completions", "small", {**QUESTION, **GREEDY}, ("choices", "message", "content")),
    RouteRequest("/v1/chat/completions", "small", {**QUESTION, **GREEDY, **USAGE}, last_event=DONE),
    RouteRequest("/v1/completions", "small", {"prompt": "Once upon a time", **GREEDY}, ("choices", "text")),
    RouteRequest("/v1/completions", "small", {"prompt": "Once upon a time", **GREEDY, **USAGE}, last_event=DONE),
    RouteRequest(
        "/v1/responses",
        "small",
        {"input": "What is a café?", "temperature": 0.0, "max_output_tokens": 12},
        ("output", "content", "text"),
    ),
    RouteRequest(
        "/v1/responses",
        "small",
        {"input": "What is a café?", "temperature": 0.0, "max_output_tokens": 12},
        last_event=b"event: response.",
    ),
    RouteRequest("/v1/messages", "small", {**QUESTION, **GREEDY}, ("content", "text")),
    RouteRequest("/v1/messages", "small", {**QUESTION, **GREEDY}, last_event=b"event: message_stop"),
    RouteRequest("/v1/messages/count_tokens", "small", QUESTION, ("input_tokens",)),
    RouteRequest("/tokenize", "small", {"prompt": "Once upon a café"}, ("tokens",)),
    RouteRequest("/detokenize", "small", {"tokens": [40, 41, 42]}, ("prompt",)),
    RouteRequest("/v1/embeddings", "embed", {"input": ["one café", "two"]}, ("data", "embedding")),
    RouteRequest("/pooling", "embed", {"input": "one café"}, ("data", "data")),
    RouteRequest("/score", "judge", SCORE, ("data", "score")),
    RouteRequest("/v1/score", "judge", SCORE, ("data", "score")),
    RouteRequest("/rerank", "judge", PAIR, ("results", "relevance_score")),
    RouteRequest("/v1/rerank", "judge", PAIR, ("results", "relevance_score")),
    RouteRequest("/v2/rerank", "judge", PAIR, ("results", "relevance_score")),
    RouteRequest("/classify", "judge", {"input": "one café"}, ("data", "probs")),
    RouteRequest("/v1/audio/transcriptions", "listen", SPEECH, ("text",), form=True),
    RouteRequest("/v1/audio/transcriptions", "listen", SPEECH, last_event=DONE, form=True),
    RouteRequest("/v1/audio/translations", "listen", SPEECH, ("text",), form=True),
    RouteRequest("/v1/audio/translations", "listen", SPEECH, last_event=DONE, form=True),
)
