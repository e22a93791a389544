"""One line of the access log from the record of a request. Does not know how a line is rendered or written."""

import time

from remuda.gateway.http.exchange import Exchange
from remuda.gateway.record.record import Record
from remuda.observe.logs import Access, AccessLog
from remuda.policy.outcome import Outcome


class AccessLines:
    """Adds a line to `log` for each request."""

    def __init__(self, log: AccessLog) -> None:
        self._log = log

    def add(self, exchange: Exchange, record: Record, outcome: Outcome, duration_s: float) -> None:
        """One ended request."""
        first_at = record.first_byte_at
        known = record.prompt_tokens >= 0
        access = Access(
            time="",
            request=exchange.request_id.decode(),
            route=record.route_name,
            model=record.model_name,
            outcome=outcome.value,
            status=exchange.status,
            duration_ms=round(duration_s * 1e3, 3),
            first_byte_ms=round((first_at - exchange.started_at) * 1e3, 3) if first_at else None,
            endpoint=record.engine_id,
            tenant=record.tenant,
            key=record.key_name,
            attempts=record.tries,
            events=record.events,
            prompt_tokens=record.prompt_tokens if known else None,
            generated_tokens=record.generated_tokens if known else None,
        )
        self._log.add(access, time.time())

    def flush(self, now_at: float = 0.0) -> None:  # noqa: ARG002 - the sweeper tells the time
        """Write what was gathered."""
        self._log.flush()
