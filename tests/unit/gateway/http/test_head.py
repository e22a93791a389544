"""The grammar of a request's head: strict, and read alike by llhttp."""

import contextlib

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.gateway.head_memo import HeadMemo
from remuda.gateway.http.head import BadHead, HeadLimits, find_head_end, parse_head

LIMITS = HeadLimits(head_bytes=32_768, header_count=100, url_bytes=8192)


class _Llhttp:
    """What llhttp makes of the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.url = b""
        self.complete = False
        self.body = b""
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(data)
        self.method = parser.get_method()
        self.keep_alive = parser.should_keep_alive() if not self.complete else self.kept

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True
        self.kept = None


token = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=1, max_size=12)
value = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
target = st.text("abcdefghijklmnopqrstuvwxyz0123456789/-_.?=&%", max_size=20).map(lambda text: "/" + text)
heads = st.builds(
    lambda method, path, headers: f"{method} {path} HTTP/1.1\r\nhost: h\r\n{''.join(headers)}\r\n".encode(),
    st.sampled_from(["GET", "POST", "OPTIONS", "DELETE"]),
    target,
    st.lists(st.builds(lambda name, text: f"x-{name}: {text}\r\n", token, value), max_size=8),
)


@given(heads)
def test_llhttp_reads_every_accepted_head_alike(data):
    ours = parse_head(data, LIMITS)
    theirs = _Llhttp(data)
    assert (ours.method, ours.target) == (theirs.method, theirs.url)
    forwarded = [line.partition(b":") for line in ours.forwarded]
    kept = [(name.lower(), text.strip(b" \t")) for name, _, text in forwarded]
    assert kept == [(name, text.rstrip(b" \t")) for name, text in theirs.headers if name != b"host"]


PIECES = [
    b"GET / HTTP/1.1", b"\r\n", b"\r", b"\n", b"host: h", b" ", b":", b"x: y", b"\0", b"\t", b"\x0b",
    b"content-length: 1", b"transfer-encoding: chunked", b"Content-Length : 1",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
def test_what_is_accepted_by_us_is_accepted_by_llhttp(data):
    try:
        end = find_head_end(data, LIMITS)
        if not end:
            return
        head = parse_head(data[:end], LIMITS)
    except BadHead:
        return
    theirs = _Llhttp(data[:end])
    assert theirs.method == head.method


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_waited_for_and_nothing_else(data):
    with contextlib.suppress(BadHead):
        end = find_head_end(data, LIMITS)
        if end:
            parse_head(data[:end], LIMITS)


@given(heads, st.data())
def test_head_end_does_not_depend_on_the_cut(data, draw):
    cut = draw.draw(st.integers(0, len(data) - 1))
    assert find_head_end(data[:cut], LIMITS) == 0
    assert find_head_end(data + b"body", LIMITS) == len(data)


LENGTHS = [b"content-length: %d", b"Content-Length:%d", b"CONTENT-LENGTH: \t %d"]


@pytest.mark.parametrize("line", [b"content-length: 5 ", b"content-length: 5\t \t", b"content-length: 005"], ids=repr)
def test_head_that_comes_again_has_the_same_length(line):
    """A length that the hole is not found for must not be read as none: the body would be the next request."""
    head = b"POST /x HTTP/1.1\r\nhost: h\r\n" + line + b"\r\n\r\n"
    parsed = parse_head(head, LIMITS)
    assert HeadMemo(head, parsed, parsed.length).match(head + b"hello") == (len(head), 5)


@pytest.mark.parametrize("line", LENGTHS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_head_is_recognised_with_any_length(line, place):
    def render(length: int) -> bytes:
        lines = [b"host: h", b"x: content-length: 5"]
        lines.insert(place, line % length)
        return b"POST /x HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"

    head = parse_head(render(10), LIMITS)
    memo = HeadMemo(render(10), head, head.length)
    assert head.length == 10
    for length in (0, 7, 123_456_789):
        data = render(length)
        assert memo.match(data + b"body") == (len(data), length)


@given(heads, heads, st.binary(max_size=20))
def test_recognising_agrees_with_parsing(first, second, rest):
    parsed = parse_head(first, LIMITS)
    memo = HeadMemo(first, parsed, parsed.length)
    known = memo.match(second + rest)
    if known is not None:
        assert known == (len(second), parse_head(second, LIMITS).length)
        assert parse_head(second, LIMITS).block == memo.head.block
        assert parse_head(second, LIMITS).target == memo.head.target


@pytest.mark.parametrize("digits", [b"", b"x", b"1x", b"+1", b"1 ", b"9" * 30], ids=repr)
def test_length_that_is_no_number_is_not_recognised(digits):
    head = b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n"
    memo = HeadMemo(head, parse_head(head, LIMITS), 5)
    assert memo.match(head.replace(b": 5", b": " + digits)) is None


@pytest.mark.parametrize(
    ("connection", "minor", "keep_alive"),
    [
        (None, 1, True), (None, 0, False), ("close", 1, False), ("Close", 1, False), ("keep-alive", 0, True),
        ("keep-alive, close", 1, False), ("x, keep-alive", 0, True), ("upgrade-insecure", 1, True),
    ],
)  # fmt: skip
def test_connection_header_decides_what_follows(connection, minor, keep_alive):
    line = f"connection: {connection}\r\n" if connection else ""
    head = parse_head(f"GET / HTTP/1.{minor}\r\nhost: h\r\n{line}\r\n".encode(), LIMITS)
    assert head.keep_alive is keep_alive
