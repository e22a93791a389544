"""What clients send, one or several requests each."""

HOST = b"host: localhost\r\n"
JSON = b"content-type: application/json\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"


def post(lines: bytes, body: bytes) -> bytes:
    return b"POST /v1/completions HTTP/1.1\r\n" + HOST + lines + b"\r\n" + body


REQUESTS: dict[str, bytes] = {
    "get": b"GET /v1/models HTTP/1.1\r\n" + HOST + b"\r\n",
    "get with a query": b"GET /v1/models?x=1&y=%20 HTTP/1.1\r\n" + HOST + b"accept: */*\r\n\r\n",
    "two gets": (b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n") * 2,
    "HTTP/1.0": b"GET /health HTTP/1.0\r\n\r\n",
    "HTTP/1.0 that is kept alive": b"GET /health HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    "a length": post(JSON + b"content-length: 5\r\n", b"hello"),
    "a length of zero": post(JSON + b"content-length: 0\r\n", b""),
    "two with lengths": post(b"content-length: 5\r\n", b"hello") + post(b"content-length: 3\r\n", b"abc"),
    "two with the same head": post(b"content-length: 5\r\n", b"hello") * 2,
    "a length with spaces behind": post(b"content-length: 5 \t\r\n", b"hello") * 2,
    "a length with zeros in front": post(b"content-length: 005\r\n", b"hello"),
    "chunks": post(CHUNKED, b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
    "no chunks": post(CHUNKED, b"0\r\n\r\n"),
    "chunks, extensions and trailers": post(CHUNKED, b'5;a=b;c="d"\r\nhello\r\n0;x\r\nt: 1\r\nu:\r\n\r\n'),
    "chunk sizes in other spellings": post(CHUNKED, b"00A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n"),
    "chunks, then another request": post(CHUNKED, b"3\r\nabc\r\n0\r\n\r\n") + post(b"content-length: 2\r\n", b"{}"),
    "a body that looks like a request": post(b"content-length: 37\r\n", b"GET /secret HTTP/1.1\r\nhost: other\r\n\r\n"),
    "closes": b"GET / HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\nGET /more HTTP/1.1\r\n" + HOST + b"\r\n",
    "an upgrade": post(
        b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: A\r\ncontent-length: 2\r\n", b"{}"
    ),
    "an upgrade whose body looks like requests": post(
        b"connection: Upgrade\r\nupgrade: h2c\r\ncontent-length: 56\r\n", b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n" * 2
    ),
    "expects to continue": post(b"expect: 100-continue\r\ncontent-length: 2\r\n", b"{}"),
    "many headers": post(
        b"authorization: Bearer sk-1\r\nx-api-key: sk-2\r\nx-request-id: 1\r\norigin: http://x\r\n"
        b"traceparent: 00-1-1-1\r\nconnection: x-named\r\nx-named: 1\r\nX-Note: a \r\nx-note:\tb\r\n"
        b"content-length: 2\r\n",
        b"{}",
    ),
    "bytes outside ASCII": post("x-note: é\r\ncontent-length: 2\r\n".encode("latin-1"), b"\xff\xfe"),
    "options": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"origin: http://x\r\naccess-control-request-method: POST\r\n\r\n",
    "head": b"HEAD /health HTTP/1.1\r\n" + HOST + b"\r\n",
    # Known disagreements: each must be refused.
    "length and chunks": post(b"content-length: 5\r\n" + CHUNKED, b"0\r\n\r\nGET /x HTTP/1.1\r\nhost: x\r\n\r\n"),
    "two lengths": post(b"content-length: 5\r\ncontent-length: 3\r\n", b"hello"),
    "a list of lengths": post(b"content-length: 5, 5\r\n", b"hello"),
    "a signed length": post(b"content-length: +5\r\n", b"hello"),
    "an unknown coding": post(b"transfer-encoding: xchunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    "chunked twice": post(CHUNKED * 2, b"5\r\nhello\r\n0\r\n\r\n"),
    "chunked in a list": post(b"transfer-encoding: chunked, chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    "identity, then chunked": post(b"transfer-encoding: identity, chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    "a folded coding": post(b"transfer-encoding:\r\n chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    "a space before the colon": post(b"content-length : 5\r\n", b"hello"),
    "bare line feeds": post(b"content-length: 5\r\n", b"hello").replace(b"\r\n", b"\n"),
    "a bare line feed in a value": post(b"x: a\ncontent-length: 5\r\n", b"hello"),
    "a bare carriage return in a value": post(b"x: a\rcontent-length: 5\r\n", b"hello"),
    "a NUL in a value": post(b"x: a\0b\r\ncontent-length: 5\r\n", b"hello"),
    "a vertical tab in a coding": post(b"transfer-encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "a bare line feed behind a chunk size": post(CHUNKED, b"5\nhello\n0\n\n"),
    "a bare line feed behind a chunk": post(CHUNKED, b"5\r\nhello\n0\r\n\r\n"),
    "a line feed in an extension": post(CHUNKED, b"5;\nhello\r\n0\r\n\r\n"),
    "a signed chunk size": post(CHUNKED, b"+5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with 0x": post(CHUNKED, b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with an underscore": post(CHUNKED, b"1_0\r\n0123456789012345\r\n0\r\n\r\n"),
    "a chunk size with a space": post(CHUNKED, b"5 \r\nhello\r\n0\r\n\r\n"),
    "an enormous chunk size": post(CHUNKED, b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "a length as trailer": post(CHUNKED, b"5\r\nhello\r\n0\r\ncontent-length: 5\r\n\r\n"),
    "an empty line in front": b"\r\n" + post(b"content-length: 5\r\n", b"hello"),
    "an empty line between": post(b"content-length: 5\r\n", b"hello")
    + b"\r\n"
    + post(b"content-length: 5\r\n", b"hello"),
    "absolute form": b"GET http://other/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST + b"host: other\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
}
