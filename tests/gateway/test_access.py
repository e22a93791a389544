"""Who may come in: keys, TLS, CORS."""

import time

import pytest
from msgspec.structs import replace
from tests.gateway.conftest import open_site, route_to
from tests.gateway.wire import complete, get, post

from remuda.gateway.access.keys import hash_key, make_key
from remuda.gateway.errors import GatewayError
from remuda.gateway.options import Tls
from remuda.gateway.table import KeyRecord, Table

KEY = make_key("blue", "k1")


def with_keys(site, *records: KeyRecord, **fields) -> None:
    records = records or (KeyRecord(hash_key(KEY), "blue", "k1"),)
    site.gateway.apply(Table(models=(route_to(site.engines, **fields),), keys=records))


def bearer(key: str) -> bytes:
    return b"authorization: Bearer %b\r\n" % key.encode()


@pytest.mark.req("G3.keys", level="double")
@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        pytest.param(bearer(KEY), 200, None, id="bearer"),
        pytest.param(b"x-api-key: %b\r\n" % KEY.encode(), 200, None, id="x-api-key"),
        pytest.param(b"", 401, "missing_api_key", id="none"),
        pytest.param(bearer("rk_blue-k1_" + "0" * 43), 401, "invalid_api_key", id="unknown"),
        pytest.param(bearer("sk-123"), 401, "invalid_api_key", id="malformed"),
    ],
)
async def test_key_decides(site, headers, status, code):
    with_keys(site)
    response = await site.ask(complete(headers=headers))
    assert response.status == status
    if code:
        assert response.error["code"] == code
        assert response.headers["www-authenticate"] == 'Bearer realm="remuda"'
        assert site.engine.requests == []


async def test_refused_before_the_body_is_read(site):
    with_keys(site)
    wire = await site.open()
    await wire.send(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n")
    response = await wire.read()
    assert (response.status, response.headers["connection"]) == (401, "close")
    assert await wire.closed() == b""


@pytest.mark.req("G3.expiry", level="double")
async def test_expired_and_disabled_keys_are_refused(site):
    record = KeyRecord(hash_key(KEY), "blue", "k1")
    with_keys(site, replace(record, expires_at=time.time() - 1))
    assert (await site.ask(complete(headers=bearer(KEY)))).error["code"] == "expired_api_key"
    with_keys(site, replace(record, disabled=True))
    assert (await site.ask(complete(headers=bearer(KEY)))).status == 403


async def test_revoked_key_is_refused_on_a_kept_connection_at_once(site):
    with_keys(site)
    wire = await site.open()
    assert (await wire.ask(complete(headers=bearer(KEY)))).status == 200
    with_keys(site, KeyRecord(hash_key(make_key("red", "k1")), "red", "k1"))
    assert (await wire.ask(complete(headers=bearer(KEY)))).status == 401


@pytest.mark.req("G3.expiry", level="double")
async def test_expiry_is_honoured_on_a_kept_connection(site):
    site.gateway.identifier.reuse_s = 0.0
    with_keys(site, KeyRecord(hash_key(KEY), "blue", "k1", expires_at=time.time() + 3600))
    wire = await site.open()
    assert (await wire.ask(complete(headers=bearer(KEY)))).status == 200
    an_hour_later_s = time.time() + 3601
    site.gateway.identifier.read_clock = lambda: an_hour_later_s
    assert (await wire.ask(complete(headers=bearer(KEY)))).status == 401


async def test_same_head_with_another_key_is_another_caller(site):
    other = make_key("blue", "k2")
    with_keys(site)
    wire = await site.open()
    assert (await wire.ask(complete(headers=bearer(KEY)))).status == 200
    assert (await wire.ask(complete(headers=bearer(other)))).status == 401
    assert (await wire.ask(complete(headers=bearer(KEY)))).status == 200


@pytest.mark.req("G3.allowed-models", level="double")
@pytest.mark.parametrize("named", ["m", "gpt-4", "other"])
async def test_tenant_uses_its_models_only(site, named):
    with_keys(site, KeyRecord(hash_key(KEY), "blue", "k1", models=(named,)), aliases=("gpt-4",))
    response = await site.ask(complete(headers=bearer(KEY)))
    listed = [model["id"] for model in (await site.ask(get("/v1/models", bearer(KEY)))).json["data"]]
    assert response.status == (403 if named == "other" else 200)
    assert listed == ([] if named == "other" else ["m", "gpt-4"])


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
async def test_pages_for_machines_ask_no_key(site, path):
    with_keys(site)
    assert (await site.ask(get(path))).status == 200


async def test_metrics_can_be_closed_and_the_model_list_is(sites):
    async with sites(metrics_open=False) as site:
        with_keys(site)
        assert (await site.ask(get("/metrics"))).status == 401
        assert (await site.ask(get("/v1/models"))).status == 401
        assert (await site.ask(get("/metrics", bearer(KEY)))).status == 200


async def test_mode_keys_without_any_key_lets_nobody_in(sites):
    async with sites(auth={"mode": "keys"}) as site:
        assert (await site.ask(complete())).status == 401


async def test_mode_open_asks_nobody(sites):
    async with sites(auth={"mode": "open"}) as site:
        with_keys(site)
        assert (await site.ask(complete())).status == 200


@pytest.mark.req("G3.exposure", level="double")
async def test_network_address_without_keys_is_refused():
    with pytest.raises(GatewayError, match=r"refusing to listen on 0\.0\.0\.0"):
        async with open_site(listen={"host": "0.0.0.0"}):
            pass


async def test_taken_port_is_said_plainly(site):
    with pytest.raises(GatewayError, match=f"127.0.0.1:{site.port}: the port is taken"):
        async with open_site(listen={"port": site.port}):
            pass


# ---- TLS


@pytest.mark.req("G3.tls", level="double")
async def test_tls_serves_answers_and_streams(sites, certificate):
    folder, context = certificate
    async with sites(listen={"tls": Tls(str(folder / "cert.pem"), str(folder / "key.pem"))}) as site:
        wire = await site.open(ssl=context)
        assert (await wire.ask(complete())).status == 200
        assert (await wire.ask(complete(stream=True))).body.endswith(b"data: [DONE]\n\n")
        refused = await wire.ask(complete(headers=b"content-length: 1\r\n"))
        assert refused.status == 400
        assert await wire.closed() == b""


async def test_plain_http_to_a_tls_port_is_closed(sites, certificate):
    folder, _ = certificate
    async with sites(listen={"tls": Tls(str(folder / "cert.pem"), str(folder / "key.pem"))}) as site:
        wire = await site.open()
        await wire.send(get("/health"))
        assert b"HTTP/1.1 200" not in await wire.closed()


async def test_certificate_that_cannot_be_read_is_said_plainly(tmp_path):
    with pytest.raises(GatewayError, match="cannot load the certificate"):
        async with open_site(listen={"tls": Tls(str(tmp_path / "none.pem"), str(tmp_path / "none.pem"))}):
            pass


# ---- CORS

ORIGIN = b"origin: https://app.example\r\n"


async def test_cors_is_off_by_default(site):
    response = await site.ask(complete(headers=ORIGIN))
    assert "access-control-allow-origin" not in response.headers


async def test_allowed_origin_may_call_and_read(sites):
    async with sites(cors={"origins": ("https://app.example",)}) as site:
        for request in (complete(headers=ORIGIN), complete(headers=ORIGIN, stream=True), post("/none", b"", ORIGIN)):
            response = await site.ask(request)
            assert response.headers["access-control-allow-origin"] == "https://app.example"
            assert response.headers["vary"] == "origin"
            assert "x-request-id" in response.headers["access-control-expose-headers"]
        other = await site.ask(complete(headers=b"origin: https://evil.example\r\n"))
        assert "access-control-allow-origin" not in other.headers


async def test_preflight_asks_no_key_and_reaches_no_engine(sites):
    async with sites(cors={"origins": ("*",)}) as site:
        with_keys(site)
        asked = (
            ORIGIN + b"access-control-request-method: POST\r\naccess-control-request-headers: authorization,x-mine\r\n"
        )
        response = await site.ask(get("/v1/completions", asked, b"OPTIONS"))
        assert response.status == 204
        assert response.headers["access-control-allow-origin"] == "*"
        assert response.headers["access-control-allow-methods"] == "POST, OPTIONS"
        assert response.headers["access-control-allow-headers"] == "authorization,x-mine"
        assert site.engine.requests == []
