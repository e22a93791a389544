"""What happened to one request: one record for the request, one for each attempt at an engine.

Metrics, the access log and the outcome are made from it when the request ends. Nobody decides anything by it.
"""

from typing import Final

from remuda.observe.metrics import UNKNOWN

SEVERAL: Final = "several"
"""The model of a batch whose entries were answered by more than one."""


class AttemptRecord:
    """One request sent to one engine. Attempts of the same request are linked, the newest first."""

    engine_id: str
    started_at: float
    heard_at: float
    """When the engine's answer began; 0.0 while it has not."""
    failure: str
    """Why it failed; empty while it has not."""
    previous: "AttemptRecord | None"


class Record:
    """One request. Defaults stand on the class: a record sets only what became known."""

    route_name = UNKNOWN
    model_name = UNKNOWN
    tenant = ""
    key_name = ""
    attempt: AttemptRecord | None = None
    """The newest attempt."""
    tries = 0
    first_byte_at = 0.0
    last_byte_at = 0.0
    events = 0
    answer_bytes = 0
    prompt_tokens = -1
    """As the engine stated it; -1 while it has not."""
    generated_tokens = -1
    is_batch = False
    """Its tokens are counted per entry, because each entry may have another model."""

    @property
    def engine_id(self) -> str:
        """The engine that was tried last; empty when none was."""
        return "" if self.attempt is None else self.attempt.engine_id

    def begin_attempt(self, attempt: AttemptRecord) -> None:
        """The request is about to be sent to an engine."""
        attempt.previous = self.attempt
        self.attempt = attempt
        self.tries += 1

    def add_entry(self, entry: "Record") -> None:
        """Add the tokens and tries of a batch entry that has ended to the record of the whole request."""
        self.first_byte_at = self.first_byte_at or entry.first_byte_at
        self.answer_bytes += entry.answer_bytes
        if entry.prompt_tokens >= 0:
            self.prompt_tokens = max(self.prompt_tokens, 0) + entry.prompt_tokens
            self.generated_tokens = max(self.generated_tokens, 0) + max(entry.generated_tokens, 0)
        self.tries += entry.tries
        self.attempt = entry.attempt or self.attempt
        if entry.model_name != UNKNOWN:  # refused entries have none
            same = self.model_name in (UNKNOWN, entry.model_name)
            self.model_name = entry.model_name if same else SEVERAL
