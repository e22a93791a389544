"""A gateway that asks for no keys serves its own machine, and no web page of another site that a browser has open."""

import pytest
from tests.gateway.test_access import with_keys
from tests.gateway.wire import complete, get, post

TEXT = b"content-type: text/plain\r\n"
EVIL = b"origin: https://evil.example\r\n"


def at_host(request: bytes, host: bytes) -> bytes:
    return request.replace(b"host: localhost", b"host: " + host)


def foreign_host(host: str) -> str:
    return (
        f"This gateway asks for no API keys and serves only this machine, so it takes no request whose Host is "
        f"'{host}'. Use 127.0.0.1 or localhost, create a key with `remuda tenant create NAME`, or state "
        "`auth: {mode: open}`."
    )


def foreign_origin(origin: str) -> str:
    return (
        f"This gateway asks for no API keys, so it takes no request from a web page of '{origin}'. Allow that origin "
        "with `cors: {origins: […]}`, or create a key with `remuda tenant create NAME`."
    )


def refusal_of(response) -> tuple[int, str, str, str]:
    return response.status, response.error["code"], response.error["hop"], response.error["message"]


def post_as_text(path: str, body: bytes, headers: bytes = b"") -> bytes:
    """The only kind of POST with a body of JSON that a browser sends to another site without asking first."""
    return post(path, body, headers).replace(b"application/json", b"text/plain")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.1.20:8080",
        "0.0.0.0:8080",
        "[fd00::1]:8080",
        "",
    ],
)
@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(complete(), id="completion"),
        pytest.param(post("/generate", {"prompt": "x"}), id="generate"),
        pytest.param(get("/v1/models"), id="models"),
        pytest.param(get("/metrics"), id="metrics"),
        pytest.param(get("/v1/completions", method=b"OPTIONS"), id="preflight"),
    ],
)
async def test_name_that_was_made_to_resolve_here_is_refused(site, host, request_bytes):
    response = await site.ask(at_host(request_bytes, host.encode()))
    assert refusal_of(response) == (403, "foreign_page", "client", foreign_host(host))
    assert site.engine.requests == []
    assert site.outcomes == {"forbidden": 1}


@pytest.mark.parametrize("host", ["localhost:8080", "LOCALHOST", "localhost.:80", "127.0.0.1:9", "[::1]:8080"])
async def test_every_name_of_this_machine_is_served(site, host):
    assert (await site.ask(at_host(complete(), host.encode()))).status == 200


async def test_http_1_0_client_need_not_name_a_host(site):
    request = complete().replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"host: localhost\r\n", b"")
    assert (await site.ask(request)).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000", "null", "file://"])
@pytest.mark.parametrize("path", ["/generate", "/batch-generate", "/v1/completions"])
async def test_page_of_another_site_cannot_post(site, origin, path):
    body = b'{"model":"m","prompt":"x"}'
    response = await site.ask(post_as_text(path, body, b"origin: %b\r\n" % origin.encode()))
    assert refusal_of(response) == (403, "foreign_page", "client", foreign_origin(origin))
    assert site.engine.requests == []
    assert site.outcomes == {"forbidden": 1}


@pytest.mark.parametrize("path", ["/v1/models", "/ready", "/metrics", "/health"])
async def test_page_of_another_site_cannot_read_pages(site, path):
    response = await site.ask(get(path, EVIL))
    assert refusal_of(response) == (403, "foreign_page", "client", foreign_origin("https://evil.example"))


async def test_refusal_is_made_before_the_body_is_read(site):
    wire = await site.open()
    head = b"POST /generate HTTP/1.1\r\nhost: localhost\r\n%bcontent-length: 1000000\r\n\r\n" % EVIL
    response = await wire.ask(head)
    assert (response.status, response.headers["connection"]) == (403, "close")
    assert await wire.closed() == b""


async def test_refusal_is_repeated_on_a_kept_connection(site):
    wire = await site.open()
    for _ in range(3):
        assert (await wire.ask(complete(headers=EVIL))).status == 403
        assert (await wire.ask(complete())).status == 200


async def test_preflight_of_another_site_allows_nothing(site):
    response = await site.ask(get("/generate", EVIL + b"access-control-request-method: POST\r\n", b"OPTIONS"))
    assert response.status == 204
    assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_link_on_another_site_may_lead_to_a_page(site):
    """A browser sends no Origin when its user follows a link. Every page that GET reaches changes nothing."""
    followed = b"sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\n"
    assert (await site.ask(get("/v1/models", followed))).status == 200


async def test_page_that_this_address_serves_may_post(site):
    origin = b"origin: http://localhost\r\n"
    assert (await site.ask(complete(headers=origin))).status == 200
    assert (await site.ask(at_host(complete(headers=origin), b"127.0.0.1"))).status == 403


async def test_configured_origin_may_post_and_read_and_others_may_not(sites):
    async with sites(cors={"origins": ("https://app.example",)}) as site:
        own = await site.ask(complete(headers=b"origin: https://app.example\r\n"))
        assert (own.status, own.headers["access-control-allow-origin"]) == (200, "https://app.example")
        other = await site.ask(complete(headers=EVIL))
        assert refusal_of(other)[3] == foreign_origin("https://evil.example")
        assert "access-control-allow-origin" not in other.headers


async def test_configured_origin_does_not_excuse_another_host(sites):
    async with sites(cors={"origins": ("*",)}) as site:
        assert (await site.ask(complete(headers=EVIL))).status == 200
        assert (await site.ask(at_host(complete(headers=EVIL), b"evil.example"))).status == 403


async def test_open_gateway_has_any_name_and_still_serves_no_page_of_another_site(sites):
    async with sites(auth={"mode": "open"}) as site:
        assert (await site.ask(at_host(complete(), b"models.example"))).status == 200
        page = b"origin: https://models.example\r\n"
        assert (await site.ask(at_host(complete(headers=page), b"models.example"))).status == 200
        refused = await site.ask(at_host(complete(headers=EVIL), b"models.example"))
        assert refusal_of(refused) == (403, "foreign_page", "client", foreign_origin("https://evil.example"))


async def test_keys_make_both_checks_unnecessary(site):
    from tests.gateway.test_access import KEY, bearer

    with_keys(site)
    response = await site.ask(at_host(complete(headers=EVIL + bearer(KEY)), b"models.example"))
    assert response.status == 200
    assert (await site.ask(at_host(complete(headers=EVIL), b"evil.example"))).status == 401


async def test_checks_end_with_the_first_key_on_a_connection_that_is_open(site):
    wire = await site.open()
    assert (await wire.ask(complete(headers=EVIL))).status == 403
    with_keys(site)
    assert (await wire.ask(complete(headers=EVIL))).status == 401
