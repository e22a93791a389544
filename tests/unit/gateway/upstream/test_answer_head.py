"""The head of an engine's answer: what goes on, what it says of the body, and what is no answer."""

import pytest

from remuda.gateway.upstream.head import (
    NO_HEAD,
    AnswerHead,
    BadAnswer,
    check_interim_head,
    ends_with_answer,
    read_answer_head,
)


def read(*lines: str, status: int = 200, version: str = "1.1", **options: bool) -> AnswerHead:
    pairs = [line.partition(": ") for line in lines]
    return read_answer_head(version, status, [(name.encode(), value.encode()) for name, _, value in pairs], **options)


@pytest.mark.parametrize(
    ("lines", "length", "chunked", "streams"),
    [
        ([], None, False, False),
        (["content-length: 12"], 12, False, False),
        (["Content-Length: 0012 "], 12, False, False),
        (["transfer-encoding: Chunked"], None, True, False),
        (["content-type: text/event-stream", "transfer-encoding: chunked"], None, True, True),
        (["content-type: Text/Event-Stream; charset=utf-8", "content-length: 3"], 3, False, True),
        (["content-type: text/event-streams"], None, False, False),
        (["content-type: application/json"], None, False, False),
    ],
)
def test_head_says_how_long_the_body_is(lines, length, chunked, streams):
    head = read(*lines)
    assert (head.content_length, head.chunked, head.streams, head.bodiless) == (length, chunked, streams, False)


@pytest.mark.parametrize("status", [204, 304])
def test_some_answers_never_have_a_body(status):
    head = read("content-length: 5", "content-type: text/event-stream", "etag: x", status=status)
    assert (head.content_length, head.chunked, head.streams, head.bodiless) == (None, False, False, True)
    assert head.lines == b"content-type: text/event-stream\r\netag: x\r\n"


def test_answer_to_head_says_a_length_and_has_no_body():
    head = read("content-length: 5", to_head=True)
    assert (head.content_length, head.chunked, head.bodiless) == (5, False, True)
    head = read("transfer-encoding: chunked", to_head=True)
    assert (head.content_length, head.chunked, head.bodiless) == (None, False, True)


@pytest.mark.parametrize("own", [False, True], ids=["an engine", "a process of our own"])
def test_lines_go_on_in_their_order_and_in_small_letters(own):
    lines = [
        "Date: today", "X-Note: a", "Set-Cookie: b", "Location: /c", "x-note: d", "X-Remuda-Hop: e", "via: f",
        "Access-Control-Allow-Origin: g", "Connection: x-hop", "X-Hop: h", "Content-Type: i",
    ]  # fmt: skip
    cookie = b"set-cookie: b\r\nlocation: /c\r\n" if own else b""
    assert read(*lines, own=own).lines == (
        b"date: today\r\nx-note: a\r\n" + cookie + b"x-note: d\r\ncontent-type: i\r\n"
    )


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (200, ""),
        (404, ""),
        (500, ""),
        (302, "it answered 302 and points elsewhere, so the address that the gateway has is wrong"),
        (401, "it answered 401, so the API key that the gateway has for it is missing or wrong"),
        (403, "it answered 403, so it does not let the gateway in"),
        (407, "it answered 407, so something in front of it wants credentials that the gateway does not have"),
    ],
)
def test_some_answers_are_for_the_gateway_itself(status, fault):
    assert read(status=status).fault == fault


@pytest.mark.parametrize(
    ("lines", "status", "version", "detail"),
    [
        ([], 200, "2.0", "it answered in HTTP/2.0"),
        ([], 199, "1.1", "it answered with the status 199"),
        ([], 600, "1.1", "it answered with the status 600"),
        (["content-type: a", "content-type: a"], 200, "1.1", "its answer has two Content-Type headers"),
        (["content-length: 5", "content-length: 5"], 200, "1.1", "its answer has a Content-Length that is no number"),
        (["content-length: +5"], 200, "1.1", "its answer has a Content-Length that is no number"),
        (["content-length: " + "9" * 19], 200, "1.1", "its answer has a Content-Length that is no number"),
        (
            ["transfer-encoding: gzip, chunked"],
            200,
            "1.1",
            "its answer has a transfer encoding other than chunked",
        ),
        (
            ["transfer-encoding: chunked"],
            200,
            "1.0",
            "its answer has a transfer encoding, which HTTP/1.0 does not know",
        ),
        (["x: " + "y" * 70_000], 200, "1.1", "the head of its answer is too large"),
    ],
)
def test_what_is_no_answer_is_refused_with_its_reason(lines, status, version, detail):
    with pytest.raises(BadAnswer) as caught:
        read(*lines, status=status, version=version)
    assert caught.value.detail == detail


@pytest.mark.parametrize("name", [b"content-length", b"Transfer-Encoding"])
def test_interim_answer_with_a_body_is_refused(name):
    check_interim_head([(b"link", b"</x>")])
    with pytest.raises(BadAnswer, match="it sent an interim answer with a body"):
        check_interim_head([(name, b"5")])


@pytest.mark.parametrize(
    ("data", "chunked", "payload", "ends"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n{}", False, [b"{}"], True),
        (b"HTTP/1.1 200 OK\r\n\r\n\r\n", False, [b"\r\n"], True),
        (b"HTTP/1.1 200 OK\r\n\r\n\r\n\r\n", False, [b"\r\n"], False),
        (b"HTTP/1.1 200 OK\r\n\r\n", False, [], True),
        (b"HTTP/1.1 200 OK\r\n\r\n\r\n", False, [], False),
        (b"rest\r\n", False, [b"rest\r\n"], True),
        (b"rest\r\n", False, [b"rest"], False),
        (b"rest\r\n", False, [b"earlier ", b"rest\r\n"], False),
        (b"1\r\nx\r\n0\r\n\r\n", True, [b"x"], True),
        (b"1\r\nx\r\n0\r\n\r\n\r\n", True, [b"x"], False),
        (b"0\r\nx: 1\r\n\r\n", True, [], False),
        (b"\n", True, [], False),
    ],
)
def test_nothing_stands_behind_an_answer(data, chunked, payload, ends):
    assert ends_with_answer(data, chunked, payload) is ends


def test_before_any_head_nothing_is_known():
    assert (NO_HEAD.status, NO_HEAD.lines, NO_HEAD.fault, NO_HEAD.content_length) == (0, b"", "", None)
