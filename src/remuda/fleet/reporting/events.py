"""Events of a fleet while it starts, serves and stops: values, in the order in which they happen.

The fleet emits them without knowing who receives them: the terminal in front of it or, for a detached fleet, the
launcher at the other end of a socket, as one JSON line each.
"""

from collections.abc import Callable
from enum import StrEnum

import msgspec


class StepState(StrEnum):
    """How far a step is. A step that is done may run again: an engine that is restarted."""

    RUNNING = "running"
    DONE = "done"
    WARNED = "warned"  # the step goes on, but somebody should know: an engine died and will be started again
    FAILED = "failed"


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Something that happened."""


class Step(Event, frozen=True, kw_only=True, tag="step"):
    """One line of progress: `title` names the step, `detail` says what it does now."""

    id: str
    title: str
    state: StepState
    detail: str = ""
    fraction: float | None = None


class Note(Event, frozen=True, kw_only=True, tag="note"):
    """A decision made for the user, or something the user should know."""

    text: str


class Question(Event, frozen=True, kw_only=True, tag="question"):
    """The first question is sent to a model."""

    model: str
    text: str


class AnswerText(Event, frozen=True, kw_only=True, tag="answer"):
    """A piece of the streamed answer."""

    text: str


class AnswerEnd(Event, frozen=True, kw_only=True, tag="answer-end"):
    """The answer is complete; otherwise `problem` says why not."""

    tokens: int = 0
    seconds: float = 0.0
    problem: str = ""


class Ready(Event, frozen=True, kw_only=True, tag="ready"):
    """Every engine serves, or has failed."""

    url: str
    models: tuple[str, ...]
    chat_model: str = ""
    """A model for the chat snippets; "" when none takes chat."""
    completion_model: str = ""
    needs_key: bool = False
    seconds: float = 0.0
    question: str = ""
    failed: tuple[str, ...] = ()
    """Engines that cannot serve, each with its reason."""


class Stopping(Event, frozen=True, kw_only=True, tag="stopping"):
    """The fleet was told to stop; running requests finish first."""

    reason: str


class Stopped(Event, frozen=True, kw_only=True, tag="stopped"):
    """No process of the fleet runs any more."""

    seconds: float = 0.0


class Failed(Event, frozen=True, kw_only=True, tag="failed"):
    """The fleet could not start; no process of it runs any more."""

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
