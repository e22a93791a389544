"""Client connections: keep-alive, pipelining, bodies, Expect, HEAD, HTTP/1.0, limits, deadlines."""

import asyncio

import pytest
from tests.gateway.double_engine import completion, event
from tests.gateway.wire import complete, get, post, until


async def test_connection_is_kept_alive(site):
    wire = await site.open()
    for _ in range(3):
        assert (await wire.ask(complete())).status == 200
    assert site.gateway.clients.opened == 1
    assert site.engine.connections == 1


async def test_connection_close_is_honoured(site):
    wire = await site.open()
    response = await wire.ask(complete(headers=b"connection: close\r\n"))
    assert response.headers["connection"] == "close"
    assert await wire.closed() == b""


async def test_http_1_0_gets_no_chunks_and_a_closed_connection(site):
    wire = await site.open()
    await wire.send(complete(stream=True).replace(b"HTTP/1.1", b"HTTP/1.0"))
    head = await wire.read_head()
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert await wire.closed() == event("one") + event("two") + event("three") + b"data: [DONE]\n\n"


async def test_http_1_0_without_host_may_keep_alive(site):
    wire = await site.open()
    request = b"GET /health HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"
    for _ in range(2):
        assert (await wire.ask(request)).headers["connection"] == "keep-alive"


async def test_pipelined_requests_are_answered_in_order(site):
    async def slow_first(reply):
        number = reply.request.json["prompt"]
        if number == "0":
            await until(lambda: wire_sent)
        await reply.answer(completion(number))

    site.engine.default = slow_first
    wire_sent = []
    wire = await site.open()
    await wire.send(b"".join(complete(str(n)) for n in range(5)))
    wire_sent.append(True)
    texts = [(await wire.read()).json["choices"][0]["text"] for _ in range(5)]
    assert texts == ["0", "1", "2", "3", "4"]


async def test_a_thousand_pipelined_pages_do_not_nest(site):
    wire = await site.open()
    await wire.send(get("/health") * 1000)
    for _ in range(1000):
        assert (await wire.read()).status == 200


async def test_pipelining_is_bounded_by_not_reading_further(sites):
    async with sites(pipeline_bytes=4096) as site:
        release = asyncio.Event()

        async def held(reply):
            await release.wait()
            await reply.answer(completion())

        site.engine.scripts.append(held)
        wire = await site.open()
        await wire.send(complete())
        await until(lambda: site.engine.requests)
        await wire.send(complete("x" * 3000) * 8)
        connection = next(iter(site.gateway.clients.links))
        await until(lambda: connection._reading_paused)
        release.set()
        for _ in range(9):
            assert (await wire.read()).status == 200


@pytest.mark.parametrize("size", [1, 5, 100, 10_000])
async def test_chunked_request_reaches_the_engine_with_a_length(site, size):
    body = b'{"model":"m","prompt":"' + b"y" * 5000 + b'"}'
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    framed = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = post("/v1/completions", b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    wire = await site.open()
    await wire.send(head + framed + b"0\r\nx-trailer: 1\r\n\r\n" + get("/health"))
    assert (await wire.read()).status == 200
    assert (await wire.read()).json == {"status": "ok"}
    assert site.engine.requests[0].body == body
    assert "transfer-encoding" not in site.engine.requests[0].headers


async def test_request_may_come_byte_by_byte(site):
    wire = await site.open()
    for byte in complete():
        await wire.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await wire.read()).status == 200


async def test_expect_is_answered_before_the_body_is_sent(site):
    body = b'{"model":"m","prompt":"x"}'
    head, _, _ = post("/v1/completions", body, b"expect: 100-continue\r\n").partition(b"\r\n\r\n")
    wire = await site.open()
    await wire.send(head + b"\r\n\r\n")
    assert (await wire.read()).status == 100
    await wire.send(body)
    assert (await wire.read()).status == 200


async def test_unknown_expectation_is_refused(site):
    head, _, _ = complete(headers=b"expect: miracles\r\n").partition(b"\r\n\r\n")
    assert (await site.ask(head + b"\r\n\r\n")).status == 417


@pytest.mark.parametrize("path", ["/health", "/ready", "/v1/models", "/metrics"])
async def test_head_has_the_headers_of_get_and_no_body(site, path):
    wire = await site.open()
    await wire.send(get(path, method=b"HEAD"))
    head = await wire.read(head_only=True)
    full = await wire.ask(get(path))
    assert head.status == full.status == 200
    if path != "/metrics":
        assert head.headers["content-length"] == full.headers["content-length"]


@pytest.mark.req("G3.body-limit", level="double")
async def test_too_large_body_is_refused_before_it_is_sent(sites):
    async with sites(limits={"body_bytes": 1000}) as site:
        wire = await site.open()
        await wire.send(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1001\r\n\r\n")
        response = await wire.read()
        assert response.status == 413
        assert response.error["code"] == "body_too_large"
        assert response.headers["connection"] == "close"
        assert await wire.closed() == b""


@pytest.mark.req("G3.body-limit", level="double")
async def test_too_large_chunked_body_is_refused_while_it_comes(sites):
    async with sites(limits={"body_bytes": 1000}) as site:
        wire = await site.open()
        await wire.send(
            b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n"
        )
        assert (await wire.read()).status == 413


async def test_refused_body_still_on_its_way_does_not_reset_the_answer(sites):
    async with sites(limits={"body_bytes": 1000}) as site:
        wire = await site.open()
        wire.writer.write(
            b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500000\r\n\r\n" + b"x" * 500_000
        )
        assert (await wire.read()).status == 413


async def test_slow_head_is_cut_with_408(sites):
    async with sites(timeouts={"header_s": 0.1}) as site:
        wire = await site.open()
        await wire.send(b"GET /health HTTP/1.1\r\n")
        assert (await wire.read()).status == 408
        assert await wire.closed() == b""


async def test_drip_of_header_bytes_does_not_extend_the_deadline(sites):
    async with sites(timeouts={"header_s": 0.2}) as site:
        wire = await site.open()

        async def drip():
            for byte in b"GET /health HTTP/1.1\r\nx: " + b"y" * 10_000:
                wire.writer.write(bytes([byte]))
                await asyncio.sleep(0.01)

        task = asyncio.create_task(drip())
        assert (await wire.read()).status == 408
        task.cancel()


async def test_stalled_body_is_cut_with_408(sites):
    async with sites(timeouts={"body_s": 0.1}) as site:
        wire = await site.open()
        await wire.send(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
        assert (await wire.read()).status == 408
        assert site.outcomes == {"client_timeout": 1}


async def test_idle_connection_is_closed_after_keep_alive(sites):
    async with sites(timeouts={"keep_alive_s": 0.1}) as site:
        wire = await site.open()
        await wire.ask(get("/health"))
        assert await wire.closed() == b""


async def test_connections_beyond_the_limit_are_told_so(sites):
    async with sites(limits={"connections": 2}) as site:
        first, second = await site.open(), await site.open()
        await first.ask(get("/health"))
        await second.ask(get("/health"))
        third = await site.ask(complete())
        assert (third.status, third.error["message"]) == (
            429,
            "The gateway already has 2 connections, which is its limit. Try again in 1 s.",
        )
        assert third.headers["connection"] == "close"
        await first.close()
        await until(lambda: len(site.gateway.clients.links) < 2)
        assert (await site.ask(get("/health"))).status == 200


async def test_requests_beyond_the_limit_are_refused_early(sites):
    async with sites(limits={"requests_in_flight": 1}) as site:
        release = asyncio.Event()

        async def held(reply):
            await release.wait()
            await reply.answer(completion())

        site.engine.default = held
        busy = await site.open()
        await busy.send(complete())
        await until(lambda: site.engine.requests)
        response = await site.ask(complete())
        assert (response.status, response.headers["retry-after"]) == (429, "1")
        release.set()
        assert (await busy.read()).status == 200
        site.assert_nothing_leased()


async def test_ten_thousand_idle_connections_cost_little_each(site):
    connections = [await site.open() for _ in range(500)]
    assert (await connections[499].ask(get("/health"))).status == 200
    assert len(site.gateway.clients.links) == 500


async def test_bodies_that_are_on_their_way_share_a_bounded_room(sites):
    async with sites(bodies_bytes=1500) as site:
        body = b'{"model":"m","prompt":"' + b"x" * 1000 + b'"}'
        request = post("/v1/completions", body)
        first = await site.open()
        await first.send(request[:-10])
        await until(lambda: site.gateway.admission.in_flight == 1)
        second = await site.open()
        await second.send(request[:-10])
        assert (await second.read()).status == 429
        await first.send(request[-10:])
        assert (await first.read()).status == 200
        third = await site.open()
        await third.send(request[:-10])
        await until(lambda: site.gateway.admission.in_flight == 1)
        await third.send(request[-10:])
        assert (await third.read()).status == 200


async def test_idle_connection_does_not_keep_a_long_head(site):
    wire = await site.open()
    assert (await wire.ask(get("/health"))).status == 200
    (connection,) = site.gateway.clients.links
    assert connection._memo is not None
    for _ in range(2):
        assert (await wire.ask(get("/health", b"x-long: " + b"x" * 30_000 + b"\r\n"))).status == 200
        assert connection._memo is None
