"""Formats log lines for people or as JSON, with secrets masked. Logs never contain prompts or answers.

Ordinary events use the `logging` module. The access log does not, because a LogRecord costs more than the request that
it describes: the gateway fills an `Access`, and `AccessLog` writes many of them as bytes at once. This module does not
know which events exist.
"""

import json
import logging
import re
import time
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from remuda.spec.secrets import mask_secrets

LogFormat = Literal["human", "json"]


class TextSink(Protocol):
    """What a log handler needs of a stream."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


def configure_logging(log_format: LogFormat, level: str, stream: TextSink) -> None:
    """Send all log lines of this process to `stream`, in place of any earlier configuration."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if log_format == "json" else HumanFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {9: "\t"}
"""Escapes for control characters, so that text from a client can neither start a line nor move the cursor."""


class HumanFormatter(logging.Formatter):
    """Formats `12:04:31 warning remuda.gateway: message` in local time, followed by a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        message = record.getMessage().translate(_CONTROL)
        line = f"{clock} {record.levelname.lower():<7} {record.name}: {message}"
        return mask_secrets(line + _traceback(self, record))


class JsonFormatter(logging.Formatter):
    """Formats one JSON object per line: time, level, logger, message, and `error` with a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask_secrets(record.getMessage()),
        }
        if traceback := _traceback(self, record):
            fields["error"] = mask_secrets(traceback.strip())
        return json.dumps(fields, ensure_ascii=False)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if record.exc_info and not record.exc_text:
        record.exc_text = formatter.formatException(record.exc_info)
    return f"\n{record.exc_text}" if record.exc_text else ""


def _utc(unix_s: float) -> str:
    """A time in UTC as in RFC 3339, with milliseconds."""
    whole = int(unix_s)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((unix_s - whole) * 1000):03d}Z"


class Access(msgspec.Struct, omit_defaults=True):
    """One request that has ended. It holds no prompt, no answer, no address of an engine and no key."""

    time: str
    """Time of the line. AccessLog sets it."""
    request: str
    """The request id, the only field that a client can choose."""
    route: str
    model: str
    outcome: str
    status: int
    """Status that the client received; 0 if it left before the answer began."""
    duration_ms: float
    first_byte_ms: float | None = None
    endpoint: str = ""
    tenant: str = ""
    key: str = ""
    attempts: int = 1
    events: int = 0
    prompt_tokens: int | None = None
    generated_tokens: int | None = None


LONGEST_REQUEST_ID = 128
_PLAIN_ID = re.compile(r"(?:req-)?[0-9a-f-]{1,64}")
"""Ids that the gateway makes, and UUIDs. They hold no secret, so they skip the masking, which takes longer."""
FLUSH_BYTES = 32_768


class AccessLog:
    """Collects access lines and writes them together: when they reach FLUSH_BYTES, or when `flush` is called."""

    __slots__ = ("_clock", "_encode", "_lines", "_second", "_second_text", "_size", "_write")

    def __init__(self, log_format: LogFormat, write: Callable[[bytes], object]) -> None:
        self._encode = _encode_json if log_format == "json" else _encode_human
        self._clock = time.gmtime if log_format == "json" else time.localtime
        self._write = write
        self._lines: list[bytes] = []
        self._size = 0
        self._second = -1
        self._second_text = ""

    def add(self, access: Access, unix_s: float) -> None:
        """Add the line of one request. Sets `access.time`, and masks and cuts the request id."""
        second = int(unix_s)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S.", self._clock(second))
        access.time = f"{self._second_text}{int((unix_s - second) * 1000):03d}Z"
        if not _PLAIN_ID.fullmatch(access.request):
            access.request = mask_secrets(access.request)[:LONGEST_REQUEST_ID]
        line = self._encode(access)
        self._lines.append(line)
        self._size += len(line)
        if self._size >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the collected lines."""
        if self._lines:
            lines, self._lines, self._size = self._lines, [], 0
            self._write(b"".join(lines))


_json_encoder = msgspec.json.Encoder()


def _encode_json(access: Access) -> bytes:
    return _json_encoder.encode(access) + b"\n"


def _encode_human(access: Access) -> bytes:
    first_ms = "" if access.first_byte_ms is None else f" (first byte {access.first_byte_ms:.1f} ms)"
    place = f" on {access.endpoint}" if access.endpoint else ""
    who = f" for {access.tenant}" if access.tenant else ""
    retried = f", {access.attempts} tries" if access.attempts > 1 else ""
    request = access.request.translate(_CONTROL)
    return (
        f"{access.time[11:19]} {access.status or '---'} {access.route} {access.model}{place}{who}: {access.outcome} in "
        f"{access.duration_ms:.1f} ms{first_ms}{retried} [{request}]\n"
    ).encode("utf-8", "replace")
