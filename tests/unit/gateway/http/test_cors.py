"""Which web pages may read answers."""

import pytest

from remuda.gateway.http.cors import Cors, preflight_lines

EXPOSED = b"access-control-expose-headers: x-request-id, x-remuda-engine, x-remuda-hop, retry-after\r\n"
APP = b"access-control-allow-origin: https://app.example\r\nvary: origin\r\n" + EXPOSED
ANY = b"access-control-allow-origin: *\r\nvary: origin\r\n" + EXPOSED


@pytest.mark.parametrize(
    ("origins", "origin", "lines"),
    [
        ((), None, b""),
        ((), b"https://app.example", b""),
        (("https://app.example",), None, b"vary: origin\r\n"),
        (("https://app.example",), b"https://evil.example", b"vary: origin\r\n"),
        (("https://app.example",), b"https://app.example", APP),
        (("https://app.example",), b"https://app.example,https://app.example", b"vary: origin\r\n"),
        (("*",), None, b"vary: origin\r\n"),
        (("*",), b"https://evil.example", ANY),
    ],
)
def test_answers_say_who_may_read_them_and_that_they_depend_on_it(origins, origin, lines):
    assert Cors(origins).lines_for(origin) == lines


USUAL = b"authorization, content-type, x-api-key, x-request-id, traceparent"


@pytest.mark.parametrize(
    ("origin_lines", "forwarded", "allowed"),
    [
        (b"", [], b""),
        (b"vary: origin\r\n", [b"access-control-request-headers: x"], b""),
        (APP, [b"accept: */*", b"Access-Control-Request-Headers:  x-mine, authorization "], b"x-mine, authorization"),
        (ANY, [], USUAL),
    ],
    ids=["off", "another origin", "asks for headers", "asks for nothing"],
)
def test_preflight_of_an_allowed_page_may_send_any_header(origin_lines, forwarded, allowed):
    said = preflight_lines(origin_lines, forwarded, b"GET")
    if not allowed:
        assert said == b""
        return
    assert said == (
        b"access-control-allow-methods: GET\r\naccess-control-allow-headers: " + allowed + b"\r\n"
        b"access-control-max-age: 600\r\n"
    )
