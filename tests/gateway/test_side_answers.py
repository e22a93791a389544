"""Answers of a process beside the gateway: none has more framing than its request allows, and its own headers go on."""

import pytest
from tests.gateway.test_sides import open_beside
from tests.gateway.wire import get

TO_HEAD = {
    "a length": (b"content-length: 5\r\n", {"content-length": "5"}),
    "chunks": (b"transfer-encoding: chunked\r\n", {}),
    "neither": (b"", {}),
    "an event stream": (b"content-type: text/event-stream\r\n", {"content-type": "text/event-stream"}),
}


@pytest.mark.parametrize(("lines", "said"), TO_HEAD.values(), ids=TO_HEAD)
async def test_answer_to_head_has_no_body_and_the_next_request_is_served(sites, tmp_path, lines, said):
    async with open_beside(sites, tmp_path) as (site, beside, _):
        beside.answer = b"HTTP/1.1 200 OK\r\nx-note: seen\r\n" + lines + b"\r\n"
        wire = await site.open()
        await wire.send(get("/v1/files/1", method=b"HEAD"))
        response = await wire.read(head_only=True)
        assert response.status == 200
        assert response.headers.items() >= ({"x-note": "seen"} | said).items()
        assert "transfer-encoding" not in response.headers
        assert ("content-length" in response.headers) is ("content-length" in said)
        assert beside.head.startswith(b"HEAD /v1/files/1 HTTP/1.1\r\n")
        assert (await wire.ask(get("/ready"))).status == 200
        assert site.outcomes == {"completed": 2}


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answer_that_never_has_a_body_has_no_framing(sites, tmp_path, status):
    async with open_beside(sites, tmp_path) as (site, beside, _):
        beside.answer = b"HTTP/1.1 %b\r\ncontent-type: text/event-stream\r\netag: x\r\n\r\n" % status
        wire = await site.open()
        response = await wire.ask(get("/v1/files/1"))
        assert response.status == int(status[:3])
        assert response.headers["etag"] == "x"
        assert not {"transfer-encoding", "content-length"} & response.headers.keys()
        assert (await wire.ask(get("/ready"))).status == 200


async def test_headers_of_a_process_of_our_own_reach_the_client(sites, tmp_path):
    async with open_beside(sites, tmp_path) as (site, beside, _):
        beside.answer = (
            b"HTTP/1.1 303 See Other\r\nlocation: /v1/files/2\r\nset-cookie: session=1\r\nwww-authenticate: Basic\r\n"
            b"x-request-id: its-own\r\nx-remuda-hop: its-own\r\nconnection: x-named\r\nx-named: 1\r\n"
            b"content-length: 0\r\n\r\n"
        )
        response = await site.ask(get("/v1/files/1", b"x-request-id: client-1\r\n"))
        assert response.status == 303
        assert response.headers["location"] == "/v1/files/2"
        assert response.headers["set-cookie"] == "session=1"
        assert response.headers["www-authenticate"] == "Basic"
        assert response.headers["x-request-id"] == "client-1"
        assert response.headers.get("x-remuda-hop") != "its-own"
        assert "x-named" not in response.headers
