"""The head of an engine's answer: which of its lines go on to the client, and what it says about the body.

Pure: header pairs in, a value out. Does not know connections, requests or clients.
"""

from typing import Final

_LENGTH, _CODING, _TYPE, _DROP = range(4)
_MEANINGS: Final = {
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"content-type": _TYPE,
    # These describe the hop to the engine, or the gateway sends its own.
    **dict.fromkeys(
        (
            b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"upgrade", b"te", b"trailer",
            b"x-request-id", b"server", b"alt-svc", b"set-cookie", b"strict-transport-security",
        ),
        _DROP,
    ),
}  # fmt: skip


class AnswerHead:
    """What an answer's head says. It is not changed afterwards: every answer with the same bytes shares it.

    status          0 while no head has been read
    lines           the header lines that go on to the client, rendered
    content_length  the length as the engine wrote it; None when it wrote none
    chunked         whether the engine framed the body in chunks
    streams         whether the body is an event stream
    """

    __slots__ = ("chunked", "content_length", "lines", "status", "streams")

    def __init__(self, status: int, lines: bytes, content_length: bytes | None, chunked: bool, streams: bool) -> None:
        self.status = status
        self.lines = lines
        self.content_length = content_length
        self.chunked = chunked
        self.streams = streams


NO_HEAD: Final = AnswerHead(0, b"", None, False, False)
"""Before an answer's head has been read."""


def read_answer_head(status: int, headers: list[tuple[bytes, bytes]]) -> AnswerHead:
    """The head that has these headers."""
    lines = []
    content_length: bytes | None = None
    chunked = streams = False
    meanings = _MEANINGS
    for name, value in headers:
        meaning = meanings.get(name)
        if meaning is None:
            meaning = meanings.get(name.lower())
        if meaning is None or meaning == _TYPE:
            lines.append(b"%b: %b\r\n" % (name, value))
            if meaning is not None:
                streams = value.startswith(b"text/event-stream")
        elif meaning == _LENGTH:
            content_length = value
        elif meaning == _CODING:
            chunked = True
    return AnswerHead(status, b"".join(lines), content_length, chunked, streams)
