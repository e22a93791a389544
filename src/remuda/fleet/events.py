"""What a fleet says while it starts, serves and stops: values, in the order they happen.

The supervisor emits them and does not know who looks: the terminal in front of it, or (detached) the launcher at
the other end of a socket, one JSON line each. `cli.progress` draws them.
"""

from collections.abc import Callable
from enum import StrEnum

import msgspec


class StepState(StrEnum):
    """How far one step is. A step may run again after it was done (an engine that is restarted)."""

    RUNNING = "running"
    DONE = "done"
    WARNED = "warned"  # goes on, but somebody should know: an engine died and will be started again
    FAILED = "failed"


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Something that happened."""


class Step(Event, frozen=True, kw_only=True, tag="step"):
    """One line of progress: `title` names it for good, `detail` says what it does now."""

    id: str
    title: str
    state: StepState
    detail: str = ""
    fraction: float | None = None


class Note(Event, frozen=True, kw_only=True, tag="note"):
    """Something decided for the user, or found on the way."""

    text: str


class Question(Event, frozen=True, kw_only=True, tag="question"):
    """The first question is put to a model."""

    model: str
    text: str


class AnswerText(Event, frozen=True, kw_only=True, tag="answer"):
    """A piece of the answer, as it streams."""

    text: str


class AnswerEnd(Event, frozen=True, kw_only=True, tag="answer-end"):
    """The answer is complete; `problem` says why when it is not."""

    tokens: int = 0
    seconds: float = 0.0
    problem: str = ""


class Ready(Event, frozen=True, kw_only=True, tag="ready"):
    """Everything that can serve serves."""

    url: str
    models: tuple[str, ...]
    chat_model: str = ""
    """A model the snippets can talk to; "" when none takes chat."""
    completion_model: str = ""
    needs_key: bool = False
    seconds: float = 0.0
    question: str = ""
    failed: tuple[str, ...] = ()
    """Models that cannot be served, each with its reason."""


class Stopping(Event, frozen=True, kw_only=True, tag="stopping"):
    """The fleet was told to stop: running requests finish first."""

    reason: str


class Stopped(Event, frozen=True, kw_only=True, tag="stopped"):
    """Nothing runs any more."""

    seconds: float = 0.0


class Failed(Event, frozen=True, kw_only=True, tag="failed"):
    """The fleet could not come up; nothing runs any more."""

    message: str
    hint: str = ""


AnyEvent = Step | Note | Question | AnswerText | AnswerEnd | Ready | Stopping | Stopped | Failed
Emit = Callable[[AnyEvent], None]

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(AnyEvent)


def render_line(event: AnyEvent) -> bytes:
    """The event as one line of JSON."""
    return _ENCODER.encode(event) + b"\n"


def parse_line(line: bytes) -> AnyEvent:
    """The event of one line."""
    event: AnyEvent = _DECODER.decode(line)
    return event
