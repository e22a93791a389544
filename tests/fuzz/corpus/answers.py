"""What engines send on one connection: one or several answers, whole, cut short or wrong."""

OK = b"HTTP/1.1 200 OK\r\n"
DATE = b"date: Sat, 21 Nov 2026 12:00:00 GMT\r\nserver: uvicorn\r\n"
STREAM = b"content-type: text/event-stream; charset=utf-8\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def answer(body: bytes, lines: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%b%bcontent-length: %d\r\n\r\n%b" % (status, DATE, lines, len(body), body)


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


ANSWERS: dict[str, bytes] = {
    "whole": answer(b'{"id":"1"}', b"content-type: application/json\r\n"),
    "two with the same head": answer(b"hello") + answer(b"world"),
    "three with other lengths": answer(b"hello") + answer(b"hello, world") + answer(b""),
    "empty": answer(b""),
    "an error": answer(b'{"error":{}}', status=b"400 Bad Request"),
    "an overloaded engine": answer(b"{}", b"retry-after: 3\r\n", b"503 Service Unavailable"),
    "refused credentials": answer(b"{}", b"www-authenticate: Bearer\r\n", b"401 Unauthorized"),
    "a redirection": answer(b"", b"location: http://10.0.0.1/\r\n", b"307 Temporary Redirect"),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n" + answer(b"next"),
    "304 with a length": b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n" + answer(b"next"),
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + answer(b"{}"),
    "switching protocols": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nxyz",
    "closes": answer(b"bye", b"connection: close\r\n") + answer(b"more"),
    "names headers in Connection": answer(b"{}", b"connection: x-a, X-B\r\nx-a: 1\r\nx-b: 2\r\nx-c: 3\r\n"),
    "headers for the gateway alone": answer(
        b"{}", b"x-remuda-engine: e\r\nAccess-Control-Allow-Origin: *\r\nvia: x\r\n"
    ),
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    "HTTP/1.0 with a length": b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.0 that is kept alive": b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
    "until the end": OK + b"\r\nuntil the end",
    "chunks": OK + CHUNKED + chunk(b"hello") + chunk(b", world") + END,
    "chunks with extensions and trailers": OK
    + CHUNKED
    + b"5;a=b\r\nhello\r\n0;c\r\nx: 1\r\ny: 2\r\n\r\n"
    + answer(b"{}"),
    "a stream": OK + DATE + STREAM + CHUNKED + b"".join(chunk(b"data: %d\n\n" % n) for n in range(6)) + END,
    "two streams": (OK + STREAM + CHUNKED + chunk(b"data: a\n\n") + chunk(b"data: [DONE]\n\n") + END) * 2,
    "a stream, then a whole answer": OK + STREAM + CHUNKED + chunk(b"data: a\n\n") + END + answer(b"next"),
    "events that look like chunks": OK
    + STREAM
    + CHUNKED
    + chunk(b"5\r\nhello\r\n0\r\n\r\n\n\n")
    + chunk(b"\r\n")
    + END,
    "half an event in each chunk": OK
    + STREAM
    + CHUNKED
    + chunk(b"data: ")
    + chunk(b"x\n\nda")
    + chunk(b"ta\n\n")
    + END,
    "a stream with a length": OK + STREAM + b"content-length: 9\r\n\r\ndata: x\n\n",
    "a stream that breaks": OK + STREAM + CHUNKED + chunk(b"data: x\n\n") + b"9\r\ndata",
    "a stream that ends with its connection": OK + STREAM + b"\r\ndata: x\n\ndata: y\n\n",
    # Wrong: none of these may become an answer, or more than one.
    "a second answer that differs": answer(b"{}") + answer(b"second", status=b"500 Oh"),
    "garbage behind": answer(b"{}") + b"garbage",
    "an empty line behind": answer(b"{}") + b"\r\n" + answer(b"next"),
    "a body behind 204": b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n{}" + answer(b"next"),
    "chunks behind 204": b"HTTP/1.1 204 No Content\r\n" + STREAM + CHUNKED + chunk(b"x") + END,
    "two lengths": OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{} ",
    "two equal lengths": OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "a length and chunks": OK + b"content-length: 2\r\n" + CHUNKED + chunk(b"{}") + END,
    "a coding below chunked": OK + b"transfer-encoding: gzip, chunked\r\n\r\n" + chunk(b"x") + END,
    "an unknown coding": OK + b"transfer-encoding: gzip\r\n\r\nabc",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + CHUNKED + chunk(b"x") + END,
    "two content types": OK + b"content-type: a/b\r\ncontent-type: c/d\r\ncontent-length: 2\r\n\r\n{}",
    "a folded header": OK + b"x: a\r\n b\r\ncontent-length: 2\r\n\r\n{}",
    "bare line feeds": answer(b"{}").replace(b"\r\n", b"\n"),
    "a carriage return in a value": OK + b"x: a\rset-cookie: b\r\ncontent-length: 2\r\n\r\n{}",
    "a trailer that is a length": OK + CHUNKED + chunk(b"x") + b"0\r\ncontent-length: 5\r\n\r\n",
    "an interim answer with a body": answer(b"{}", status=b"199 OK") + answer(b"", status=b"500 Oh"),
    "status 99": b"HTTP/1.1 099 Oh\r\ncontent-length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 Oh\r\ncontent-length: 0\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    "nothing": b"",
    "garbage": b"garbage\r\n\r\n",
}
