"""The head of an engine's answer: whether it is for the client, which of its lines go on, what it says of the body.

Pure: header pairs in, a value out. Does not know connections, requests or clients.
"""

from functools import lru_cache
from typing import Final

_LENGTH, _CODING, _CONNECTION, _TYPE, _DROP, _OTHER = range(6)
_MEANINGS: Final = {
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"content-type": _TYPE,
    b"connection": _CONNECTION,
    # They describe the hop to the engine, or only the gateway may say them to its clients.
    **dict.fromkeys(
        (
            b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authentication-info", b"upgrade", b"te",
            b"trailer", b"via", b"forwarded", b"server", b"alt-svc", b"x-request-id",
        ),
        _DROP,
    ),
}  # fmt: skip
_OWN_ONLY: Final = frozenset(
    {b"location", b"content-location", b"www-authenticate", b"set-cookie", b"strict-transport-security"}
)
"""An engine's would give its address away or bind the client to it. A process of our own may say them."""
_OURS: Final = (b"x-remuda-", b"access-control-")
"""Beginnings of names that only the gateway may say to its clients."""
_PLAIN_CONNECTION: Final = frozenset({b"keep-alive", b"close"})
_BODILESS: Final = frozenset({204, 304})
_HEAD_END: Final = b"\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_HEAD_BYTES: Final = 64 * 1024
_FAULTS: Final = {
    401: "it answered 401, so the API key that the gateway has for it is missing or wrong",
    403: "it answered 403, so it does not let the gateway in",
    407: "it answered 407, so something in front of it wants credentials that the gateway does not have",
}


class AnswerHead:
    """What an answer's head says. It is not changed afterwards: every answer with the same bytes shares it.

    status          0 while no head has been read
    lines           the header lines that go on to the client, rendered
    content_length  how long the body is, or would be in the answer to HEAD; None when the head does not say it
    chunked         whether the engine framed the body in chunks
    streams         whether the body is an event stream
    bodiless        whether there is never a body, whatever else the head says
    fault           why this answer is not for the client, as the end of a sentence about the engine; mostly empty:
                    redirections and refused credentials are for the gateway itself, whose operator must mend them
    """

    __slots__ = ("bodiless", "chunked", "content_length", "fault", "lines", "status", "streams")

    def __init__(
        self,
        status: int,
        lines: bytes,
        content_length: int | None,
        *,
        chunked: bool = False,
        streams: bool = False,
        bodiless: bool = False,
    ) -> None:
        self.status = status
        self.bodiless = bodiless
        self.fault = _find_fault(status)
        self.lines = lines
        self.content_length = content_length
        self.chunked = chunked
        self.streams = streams


def _find_fault(status: int) -> str:
    if 300 <= status < 400:
        return f"it answered {status} and points elsewhere, so the address that the gateway has is wrong"
    return _FAULTS.get(status, "")


NO_HEAD: Final = AnswerHead(0, b"", None)
"""Before an answer's head has been read."""


class BadAnswer(Exception):  # noqa: N818 - it is a verdict on the engine's bytes
    """This is no answer. `detail` says why, as the end of a sentence about the engine."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def read_answer_head(
    version: str, status: int, headers: list[tuple[bytes, bytes]], own: bool = False, to_head: bool = False
) -> AnswerHead:
    """The head with this HTTP version, status and headers. Raises BadAnswer.

    own      a process of our own says it, not an engine
    to_head  it answers a HEAD request
    """
    _check_status(version, status)
    lines = []
    said: dict[int, bytes] = {}
    for name, value in headers:
        meaning, line = _read_line(name, value, own)
        if line:
            lines.append(line)
        if meaning < _DROP:
            if meaning == _TYPE and _TYPE in said:
                raise BadAnswer("its answer has two Content-Type headers")
            said[meaning] = said[meaning] + b"," + value if meaning in said else value
    block = b"".join(_drop_named(lines, said.get(_CONNECTION)))
    if len(block) > _HEAD_BYTES:
        raise BadAnswer("the head of its answer is too large")
    length = _read_length(said.get(_LENGTH))
    chunked = _read_coding(said.get(_CODING), version)
    if status in _BODILESS:
        return AnswerHead(status, block, None, bodiless=True)
    if to_head:
        return AnswerHead(status, block, length, bodiless=True)
    streams = said.get(_TYPE, b"").partition(b";")[0].strip(b" \t").lower() == b"text/event-stream"
    return AnswerHead(status, block, length, chunked=chunked, streams=streams)


def ends_with_answer(data: bytes, chunked: bool, payload: list[bytes]) -> bool:
    """Whether nothing stands behind the answer that the last read `data` has completed. False where it is hard to tell.

    `payload` is the part of the body that was not taken yet, `data`'s included. The parser itself reports everything
    behind an answer but empty lines, which it skips.
    """
    if chunked:
        return data.endswith(_LAST_CHUNK)
    if not data.endswith((b"\r", b"\n")):
        return True
    size = sum(map(len, payload))
    head_end = data.find(_HEAD_END)
    return size == len(data) or (head_end >= 0 and head_end + len(_HEAD_END) + size == len(data))


def check_interim_head(headers: list[tuple[bytes, bytes]]) -> None:
    """Refuse an interim answer (1xx) that says it has a body. It has none, but parsers disagree whether to read one."""
    if any(_MEANINGS.get(name.lower()) in {_LENGTH, _CODING} for name, _ in headers):
        raise BadAnswer("it sent an interim answer with a body")


@lru_cache(maxsize=256)
def _read_line(name: bytes, value: bytes, own: bool) -> tuple[int, bytes]:
    """(what the header means here, the line that goes on or nothing). Engines repeat nearly all of their headers."""
    name = name.lower()
    meaning = _MEANINGS.get(name, _OTHER)
    if meaning not in {_TYPE, _OTHER} or name.startswith(_OURS) or (name in _OWN_ONLY and not own):
        return meaning, b""
    return meaning, b"%b: %b\r\n" % (name, value)


def _check_status(version: str, status: int) -> None:
    if version not in {"1.1", "1.0"}:
        raise BadAnswer(f"it answered in HTTP/{version}")
    if not 200 <= status < 600:
        raise BadAnswer(f"it answered with the status {status}")


def _drop_named(lines: list[bytes], connection: bytes | None) -> list[bytes]:
    """The lines without those that the Connection header names: they are for this hop only."""
    if connection is None or connection in _PLAIN_CONNECTION:
        return lines
    named = {token.strip(b" \t") for token in connection.lower().split(b",")}
    return [line for line in lines if line.partition(b":")[0] not in named]


def _read_length(length: bytes | None) -> int | None:
    """llhttp has checked the digits; this refuses what it would read and this module would not."""
    if length is None:
        return None
    digits = length.strip(b" \t")
    if not digits.isdigit() or len(digits) > 18:
        raise BadAnswer("its answer has a Content-Length that is no number")
    return int(digits)


def _read_coding(coding: bytes | None, version: str) -> bool:
    if coding is None:
        return False
    if version != "1.1":
        raise BadAnswer("its answer has a transfer encoding, which HTTP/1.0 does not know")
    if coding.strip(b" \t").lower() != b"chunked":
        raise BadAnswer("its answer has a transfer encoding other than chunked")
    return True
