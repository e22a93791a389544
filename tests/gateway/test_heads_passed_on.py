"""Which header lines go on: what a client says to the gateway alone, and what an engine says to it, stops there."""

import pytest
from tests.gateway.double_engine import completion
from tests.gateway.wire import complete, get, post

CONFIGURATION = {
    301: "it answered 301 and points elsewhere, so the address that the gateway has is wrong",
    304: "it answered 304 and points elsewhere, so the address that the gateway has is wrong",
    307: "it answered 307 and points elsewhere, so the address that the gateway has is wrong",
    401: "it answered 401, so the API key that the gateway has for it is missing or wrong",
    403: "it answered 403, so it does not let the gateway in",
    407: "it answered 407, so something in front of it wants credentials that the gateway does not have",
}


@pytest.mark.parametrize(("status", "detail"), CONFIGURATION.items(), ids=map(str, CONFIGURATION))
async def test_answer_that_is_meant_for_the_gateway_is_the_operators_fault(site, status, detail):
    async def refuse(reply):
        headers = (
            b"location: http://10.1.2.3:8000/elsewhere\r\nwww-authenticate: Bearer\r\nproxy-authenticate: Basic\r\n"
        )
        await reply.answer(b'{"error":"engine words"}', b"%d Oh" % status, headers)

    site.engine.default = refuse
    response = await site.ask(complete())
    assert response.status == 502
    assert response.error["code"] == "engine_failed"
    assert response.error["message"] == f"The engine of the model 'm' failed before it answered: {detail}."
    for word in (b"10.1.2.3", b"engine words", b"authenticate"):
        assert word not in response.raw


async def test_another_engine_answers_when_one_does_not_let_the_gateway_in(sites):
    async with sites(engines=2) as site:

        async def refuse(reply):
            await reply.answer(b"{}", b"401 Unauthorized")

        site.engines[0].default = refuse
        for _ in range(4):
            response = await site.ask(complete())
            assert (response.status, response.body) == (200, completion())


STAYS_AT_THE_GATEWAY = [
    b"X-Remuda-Engine: other",
    b"x-remuda-hop: gateway",
    b"X-Request-Id: engine-1",
    b"Access-Control-Allow-Origin: *",
    b"Access-Control-Allow-Credentials: true",
    b"Via: 1.1 inner",
    b"Forwarded: for=10.1.2.3",
    b"Set-Cookie: session=1",
    b"Server: uvicorn",
    b"Location: http://10.1.2.3:8000/",
    b"Content-Location: http://10.1.2.3:8000/",
    b"Proxy-Authenticate: Basic",
    b"WWW-Authenticate: Bearer",
    b"Keep-Alive: timeout=5",
    b"Connection: x-named, X-Also",
    b"X-Named: 1",
    b"x-also: 2",
    b"Connection: x-third",
    b"x-third: 3",
    b"Strict-Transport-Security: max-age=1",
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_only_an_answers_own_lines_reach_the_client(site, stream):
    async def say_much(reply):
        lines = b"".join(line + b"\r\n" for line in STAYS_AT_THE_GATEWAY) + b"Retry-After: 7\r\nX-Note: seen\r\n"
        kind = b"content-type: text/event-stream\r\ntransfer-encoding: chunked" if stream else b"content-length: 10"
        body = b"9\r\ndata: x\n\n\r\n0\r\n\r\n" if stream else b"0123456789"
        await reply.send(b"HTTP/1.1 200 OK\r\n%b%b\r\n\r\n%b" % (lines, kind, body))

    site.engine.default = say_much
    response = await site.ask(complete(stream=stream, headers=b"x-request-id: client-1\r\n"))
    framing = {"content-type", "transfer-encoding"} if stream else {"content-length"}
    assert response.headers.keys() == {"retry-after", "x-note", "x-remuda-engine", "x-request-id"} | framing
    assert response.headers["x-remuda-engine"] == "m-0"
    assert response.headers["x-request-id"] == "client-1"
    assert (response.headers["retry-after"], response.headers["x-note"]) == ("7", "seen")


@pytest.mark.parametrize("usual", [b"keep-alive", b"close", b"Keep-Alive", b"Close"])
async def test_usual_connection_header_of_an_engine_hides_nothing(site, usual):
    async def answer(reply):
        await reply.answer(completion(), headers=b"connection: %b\r\nx-note: seen\r\n" % usual)

    site.engine.scripts.append(answer)
    assert (await site.ask(complete())).headers["x-note"] == "seen"


STAYS_WITH_THE_CLIENT = [
    b"X-Forwarded-For: 10.1.2.3",
    b"X-Forwarded-Host: evil",
    b"x-forwarded-proto: https",
    b"X-Forwarded-Anything: x",
    b"Forwarded: for=10.1.2.3",
    b"X-Real-IP: 10.1.2.3",
    b"Via: 1.1 outer",
    b"Api-Key: sk-client",
    b"X-Api-Key: sk-client",
    b"Cookie: session=1",
    b"Proxy-Authorization: Basic x",
    b"Proxy-Connection: keep-alive",
    b"Proxy-Anything: x",
    b"X-Remuda-Engine: m-7",
    b"Upgrade: h2c",
    b"HTTP2-Settings: x",
    b"TE: trailers",
    b"Accept-Encoding: gzip",
    b"Connection: x-named, X-Also",
    b"X-Named: 1",
    b"x-also: 2",
]


async def test_only_a_requests_own_lines_reach_the_engine(site):
    lines = b"".join(line + b"\r\n" for line in STAYS_WITH_THE_CLIENT) + b"Accept: */*\r\nX-Note: seen\r\n"
    assert (await site.ask(complete(headers=lines))).status == 200
    received = site.engine.requests[0].headers
    assert received.keys() == {
        "host", "accept", "x-note", "content-type", "content-length", "x-request-id", "traceparent"
    }  # fmt: skip
    assert received["host"] == f"127.0.0.1:{site.engine.port}"


@pytest.mark.parametrize(
    "second",
    [b"content-type: application/json", b"Content-Type: multipart/form-data; boundary=x", b"content-type:"],
    ids=["the same", "another", "empty"],
)
async def test_two_content_types_are_refused(site, second):
    response = await site.ask(complete(headers=second + b"\r\n"))
    assert response.status == 400
    assert response.error["message"] == "Malformed HTTP request: the header content-type stands there twice"
    assert site.engine.requests == []


@pytest.mark.parametrize("named", [b"content-type", b"keep-alive, Content-Type", b"x,content-type\t,y"], ids=repr)
async def test_content_type_cannot_be_hidden_from_the_engine(site, named):
    """The gateway reads the body by it, so the engine must read it by the same."""
    response = await site.ask(complete(headers=b"connection: " + named + b"\r\n"))
    assert response.status == 400
    assert response.error["message"] == (
        "Malformed HTTP request: Connection names Content-Type, which is for the engine as well"
    )
    assert site.engine.requests == []


ANSWERS = {
    "a relayed answer": (complete(), 200),
    "a stream": (complete(stream=True), 200),
    "a page": (get("/v1/models"), 200),
    "a path that does not exist": (get("/nothing"), 404),
    "a refused body": (post("/v1/completions", b"{"), 400),
    "a preflight": (get("/v1/completions", method=b"OPTIONS"), 204),
    "a malformed request": (b"GET / HTTP/1.1\r\nhost : h\r\n\r\n", 400),
}


@pytest.mark.parametrize("origins", [("https://app.example",), ("*",)], ids=["one origin", "any origin"])
@pytest.mark.parametrize("origin", [b"", b"origin: https://evil.example\r\n", b"origin: https://app.example\r\n"])
@pytest.mark.parametrize(("request_bytes", "status"), ANSWERS.values(), ids=ANSWERS)
async def test_every_answer_says_that_it_depends_on_the_origin(sites, origins, origin, request_bytes, status):
    async with sites(cors={"origins": origins}) as site:
        line, _, rest = request_bytes.partition(b"\r\n")
        response = await site.ask(line + b"\r\n" + origin + rest)
        foreign = b"evil" in origin and origins != ("*",) and status not in {204, 404} and b"host : " not in rest
        assert response.status == (403 if foreign else status)  # a gateway without keys serves no foreign page
        assert response.headers["vary"] == "origin"


async def test_no_answer_depends_on_the_origin_when_no_page_may_call(site):
    response = await site.ask(complete(headers=b"origin: https://app.example\r\n"))
    assert "vary" not in response.headers
    assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_http_1_0_client_is_never_told_to_continue(site):
    body = b'{"model":"m","prompt":"hi"}'
    head = (
        b"POST /v1/completions HTTP/1.0\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
        % len(body)
    )
    wire = await site.open()
    await wire.send(head)
    assert (await site.ask(get("/ready"))).status == 200  # the gateway has read the head by now
    await wire.send(body)
    response = await wire.read()
    assert (response.status, response.body) == (200, completion())


JAVA = (
    b"POST /v1/completions HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 27\r\n"
    b"Host: 127.0.0.1:8080\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nUpgrade: h2c\r\n"
    b"User-Agent: Java-http-client/17.0.15\r\nContent-Type: application/json\r\n\r\n"
    b'{"model":"m","prompt":"hi"}'
)
"""What java.net.http.HttpClient of Java 17 sends for a POST."""
WEBSOCKET = complete(headers=b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n")


@pytest.mark.parametrize("request_bytes", [JAVA, WEBSOCKET], ids=["h2c, as Java sends it", "websocket"])
async def test_upgrade_is_ignored(site, request_bytes):
    wire = await site.open()
    for _ in range(2):
        response = await wire.ask(request_bytes)
        assert (response.status, response.body) == (200, completion())
        assert "upgrade" not in response.headers
    assert not {"upgrade", "http2-settings", "connection"} & site.engine.requests[0].headers.keys()
