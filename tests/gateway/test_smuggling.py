"""Bytes that two parsers could read differently never pass; garbage ends in 4xx or a closed connection."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.wire import Wire, complete, get

BODY = b'{"model":"m","prompt":"x"}'


def request(*headers: bytes, line: bytes = b"POST /v1/completions HTTP/1.1", body: bytes = BODY) -> bytes:
    return b"\r\n".join([line, b"host: localhost", b"content-type: application/json", *headers]) + b"\r\n\r\n" + body


LENGTH = b"content-length: %d" % len(BODY)

ATTACKS = {
    "length and chunked": (request(LENGTH, b"transfer-encoding: chunked"), 400),
    "chunked and length": (request(b"transfer-encoding: chunked", LENGTH), 400),
    "two lengths": (request(LENGTH, b"content-length: 5"), 400),
    "two equal lengths": (request(LENGTH, LENGTH), 400),
    "length list": (request(b"content-length: 26, 26"), 400),
    "signed length": (request(b"content-length: +26"), 400),
    "negative length": (request(b"content-length: -1"), 400),
    "hex length": (request(b"content-length: 0x1a"), 400),
    "empty length": (request(b"content-length:"), 400),
    "enormous length": (request(b"content-length: " + b"9" * 30), 400),
    "large length": (request(b"content-length: 999999999999"), 413),
    "chunked, identity": (request(b"transfer-encoding: chunked, identity"), 501),
    "gzip, chunked": (request(b"transfer-encoding: gzip, chunked"), 501),
    "chunked twice": (request(b"transfer-encoding: chunked", b"transfer-encoding: chunked"), 400),
    "xchunked": (request(b"transfer-encoding: xchunked"), 501),
    "quoted chunked": (request(b'transfer-encoding: "chunked"'), 501),
    "vertical tab before chunked": (request(b"transfer-encoding: \x0bchunked"), 400),
    "chunked in HTTP/1.0": (request(b"transfer-encoding: chunked", line=b"POST /v1/completions HTTP/1.0"), 400),
    "folded header": (request(b"x: a\r\n b", LENGTH), 400),
    "folded with tab": (request(b"transfer-encoding:\r\n\tchunked"), 400),
    "space before colon": (request(b"content-length : 26"), 400),
    "tab before colon": (request(b"content-length\t: 26"), 400),
    "header without colon": (request(b"content-length 26"), 400),
    "empty header name": (request(b": 26", LENGTH), 400),
    "NUL in a value": (request(b"x: a\0b", LENGTH), 400),
    "NUL in a name": (request(b"x\0: a", LENGTH), 400),
    "control character": (request(b"x: a\x01b", LENGTH), 400),
    "bare CR in a value": (request(b"x: a\rtransfer-encoding: chunked", LENGTH), 400),
    "bare LF line ends": (request(LENGTH).replace(b"\r\n", b"\n"), 400),
    "bare LF in a value": (request(b"x: a\ntransfer-encoding: chunked", LENGTH), 400),
    "bare LF ends the head": (b"POST /v1/completions HTTP/1.1\r\nhost: localhost\n\nx", 400),
    "leading empty line": (b"\r\n" + request(LENGTH), 400),
    "leading space": (b" " + request(LENGTH), 400),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "two hosts": (request(b"host: other", LENGTH), 400),
    "absolute form": (request(LENGTH, line=b"POST http://h/v1/completions HTTP/1.1"), 400),
    "authority form": (request(LENGTH, line=b"POST h:80 HTTP/1.1"), 400),
    "CONNECT": (b"CONNECT localhost:443 HTTP/1.1\r\nhost: localhost\r\n\r\n", 501),
    "TRACE": (b"TRACE / HTTP/1.1\r\nhost: localhost\r\n\r\n", 501),
    "unknown method": (b"SMUGGLE / HTTP/1.1\r\nhost: localhost\r\n\r\n", 501),
    "lower-case method": (b"post / HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
    "h2c": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/1.2": (request(LENGTH, line=b"POST /v1/completions HTTP/1.2"), 505),
    "HTTP/0.9": (b"GET /health\r\n\r\n", 400),
    "two spaces": (request(LENGTH, line=b"POST  /v1/completions HTTP/1.1"), 400),
    "space in target": (request(LENGTH, line=b"POST /v1/ completions HTTP/1.1"), 400),
    "tab in target": (request(LENGTH, line=b"POST /v1/\tcompletions HTTP/1.1"), 400),
    "raw UTF-8 in target": (request(LENGTH, line="POST /v1/\u00e9 HTTP/1.1".encode()), 400),
    "not UTF-8 in target": (request(LENGTH, line=b"POST /v1/\xff HTTP/1.1"), 400),
    "TLS to a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "long URL": (request(LENGTH, line=b"POST /" + b"a" * 9000 + b" HTTP/1.1"), 414),
    "long header": (request(b"x: " + b"a" * 40_000, LENGTH), 431),
    "many headers": (request(*[b"x%d: 1" % n for n in range(120)], LENGTH), 431),
}

CHUNKED = (
    b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)

BAD_CHUNKS = {
    "size is not hex": b"xyz\r\n",
    "size is signed": b"+5\r\nhello\r\n0\r\n\r\n",
    "size has 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size is empty": b"\r\nhello\r\n",
    "size has a leading space": b" 5\r\nhello\r\n0\r\n\r\n",
    "size overflows": b"fffffffffffffffff\r\n",
    "bare LF after size": b"5\nhello\r\n0\r\n\r\n",
    "bare CR after size": b"5\rhello\r\n0\r\n\r\n",
    "data longer than its size": b"3\r\nhello\r\n0\r\n\r\n",
    "extension without end": b"5;" + b"x" * 1000,
    "control character in an extension": b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
    "trailer without colon": b"0\r\nnonsense\r\n\r\n",
    "too many trailers": b"0\r\n" + b"x: 1\r\n" * 50 + b"\r\n",
    "folded trailer": b"0\r\nx: 1\r\n y\r\n\r\n",
}


@pytest.mark.req("G3.head-limit", level="double")
@pytest.mark.parametrize(("attack", "status"), ATTACKS.values(), ids=ATTACKS)
async def test_ambiguous_request_is_refused_and_the_connection_closed(site, attack, status):
    wire = await site.open()
    response = await wire.ask(attack)
    assert response.status == status
    assert response.headers["connection"] == "close"
    assert set(response.error) >= {"message", "type", "code", "hop"}
    assert await wire.closed() == b""
    assert site.engine.requests == []
    site.assert_nothing_leased()


@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_malformed_chunks_are_refused_and_the_connection_closed(site, chunks):
    wire = await site.open()
    response = await wire.ask(CHUNKED + chunks)
    assert response.status == 400
    assert await wire.closed() == b""
    assert site.engine.requests == []


@pytest.mark.req("A1.allow-list", "G3.public-paths", level="double")
@pytest.mark.parametrize(
    "path",
    [
        "/v1/../metrics", "/v1//completions", "/v1/completions/", "/%76%31/completions", "/v1/%63ompletions",
        "/v1/completions%00", "/v1/completions;x", "/v1/completions%2f..%2f..%2fsleep", "/./v1/completions",
        "//v1/completions", "/V1/completions", "/v1\\completions", "/sleep", "/wake_up", "/v1/load_lora_adapter",
        "/scale_elastic_ep", "/reset_prefix_cache", "/inference/v1/abort_requests", "/collective_rpc", "/pause",
        "/resume", "/invocations", "/server_info",
    ],
)  # fmt: skip
async def test_only_exact_known_paths_reach_an_engine(site, path):
    response = await site.ask(complete().replace(b"/v1/completions", path.encode()))
    assert response.status == 404
    assert site.engine.requests == []


async def test_smuggled_second_request_is_answered_as_what_it_is(site):
    """A body that looks like a request stays a body."""
    inner = b'{"model":"m","prompt":"x"}\r\n\r\nGET /sleep HTTP/1.1\r\nhost: localhost\r\n\r\n'
    wire = await site.open()
    response = await wire.ask(request(b"content-length: %d" % len(inner), body=inner))
    assert response.status == 400  # not JSON
    assert site.engine.requests == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.one_of(st.binary(min_size=1, max_size=400), st.lists(st.sampled_from([
    b"GET ", b"POST ", b"/", b"/v1/completions", b" HTTP/1.1", b"\r\n", b"\r", b"\n", b"host: localhost",
    b"content-length: 5",
    b"transfer-encoding: chunked", b":", b" ", b"\0", b"0\r\n\r\n", b"5\r\nhello\r\n", b"{", b"\xff",
    b"expect: 100-continue",
]), max_size=30).map(b"".join)))  # fmt: skip
async def test_any_garbage_ends_in_an_answer_or_a_closed_connection(site, garbage):
    wire = await Wire.open(site.port)
    wire.writer.write(garbage)
    wire.writer.write_eof()
    said = await wire.closed()
    wire.writer.transport.abort()
    assert said == b"" or said.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 5" not in said or b" 501 " in said or b" 505 " in said
    assert (await site.ask(get("/health"))).status == 200
