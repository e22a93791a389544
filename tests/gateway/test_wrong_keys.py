"""Keys that are wrong, revoked or missing: nothing opens by itself, guesses are slowed, and no names are told."""

import pytest
from msgspec.structs import replace
from tests.gateway.conftest import route_to
from tests.gateway.test_access import KEY, bearer, with_keys
from tests.gateway.wire import complete, get, post

from remuda.gateway.access.keys import hash_key, make_key
from remuda.gateway.table import KeyRecord, Table

BURST = 20
"""Wrong keys in a row that are refused like any other."""
TOO_MANY = "Too many wrong API keys came from your address. Try again in 10 s."
NO_KEY_EXISTS = (
    "This gateway asks for an API key, and there is none that it accepts. Its operator makes one with `remuda tenant "
    "create NAME`, or serves without keys with `auth: {mode: open}`."
)
NO_KEYS = (
    "there is no API key, so the gateway refuses every request (hint: `remuda tenant create NAME` makes a key; `auth: "
    "{mode: open}` in a ModelGateway serves without keys)"
)
ACME = KeyRecord(hash_key(KEY), "acme", "k1")


def unknown_key() -> str:
    return make_key("acme", "k9")


def refusal_of(response) -> tuple[int, str, str]:
    return response.status, response.error["code"], response.error["message"]


# ---- the last key


async def test_gateway_that_starts_after_the_last_key_was_revoked_is_closed(sites):
    async with sites(table=Table(keys_wanted=True)) as site:
        without = await site.ask(complete())
        assert refusal_of(without) == (401, "missing_api_key", NO_KEY_EXISTS)
        revoked = await site.ask(complete(headers=bearer(KEY)))
        assert refusal_of(revoked) == (401, "invalid_api_key", NO_KEY_EXISTS)
        assert revoked.headers["www-authenticate"] == 'Bearer realm="remuda"'
        assert (await site.ask(get("/v1/models"))).status == 401
        assert (await site.ask(get("/health"))).status == 200


async def test_next_key_opens_a_gateway_that_was_closed_without_keys(sites):
    async with sites(table=Table(keys_wanted=True)) as site:
        with_keys(site, ACME)
        assert (await site.ask(complete(headers=bearer(KEY)))).status == 200


async def test_open_gateway_stays_open_after_the_last_key_was_revoked(sites):
    async with sites(auth={"mode": "open"}, table=Table(keys_wanted=True)) as site:
        site.gateway.apply(Table(models=(route_to(site.engines),), keys_wanted=True))
        assert (await site.ask(complete())).status == 200


async def test_gateway_closes_at_once_for_a_connection_that_was_served_before(site):
    wire = await site.open()
    assert (await wire.ask(complete())).status == 200
    site.gateway.apply(Table(models=(route_to(site.engines),), keys_wanted=True))
    assert (await wire.ask(complete())).status == 401


async def test_gateway_without_a_key_that_it_accepts_says_so_in_its_log(site, caplog):
    with_keys(site, ACME)
    assert caplog.messages == []
    site.gateway.apply(Table(models=(route_to(site.engines),), keys_wanted=True))
    for _ in range(2):  # a table that changes no key says nothing
        site.gateway.apply(Table(models=(route_to(site.engines, aliases=("x",)),), keys_wanted=True))
    assert caplog.messages == [NO_KEYS]


# ---- guesses


@pytest.mark.parametrize("wrong", ["rk_acme-k1_" + "0" * 43, "sk-0123456789abcdef"], ids=["unknown", "malformed"])
async def test_wrong_keys_are_slowed_and_a_right_key_is_let_in(site, wrong):
    with_keys(site, ACME)
    for _ in range(BURST):
        assert (await site.ask(complete(headers=bearer(wrong)))).status == 401
    slowed = await site.ask(complete(headers=bearer(wrong)))
    assert refusal_of(slowed) == (429, "too_many_wrong_keys", TOO_MANY)
    assert (slowed.headers["retry-after"], slowed.headers["connection"]) == ("10", "close")
    assert slowed.error["hop"] == "client"
    assert (await site.ask(complete(headers=bearer(KEY)))).status == 200
    assert site.outcomes == {"unauthorized": BURST + 1, "completed": 1}
    assert len(site.engine.requests) == 1
    metrics = (await site.ask(get("/metrics", bearer(KEY)))).body.decode()
    reason = "malformed" if wrong.startswith("sk-") else "unknown"
    assert f'remuda_authentication_failures_total{{reason="{reason}"}} {BURST + 1}\n' in metrics


async def test_slowed_guess_ends_its_connection(site):
    with_keys(site, ACME)
    wire = await site.open()
    for _ in range(BURST):
        assert (await wire.ask(complete(headers=bearer(unknown_key())))).status == 401
    await wire.send(complete(headers=bearer(unknown_key())) + complete(headers=bearer(unknown_key())))
    assert (await wire.read()).status == 429
    assert await wire.closed() == b""


async def test_slowed_guess_on_messages_has_the_shape_of_that_route(site):
    with_keys(site, ACME)
    guess = post("/v1/messages", {"model": "m"}, b"x-api-key: rk_wrong\r\n")
    for _ in range(BURST):
        await site.ask(guess)
    assert (await site.ask(guess)).json["error"] == {
        "type": "rate_limit_error",
        "message": TOO_MANY,
        "code": "too_many_wrong_keys",
        "hop": "client",
    }


@pytest.mark.parametrize(
    ("record", "headers", "status"),
    [
        pytest.param(ACME, b"", 401, id="missing"),
        pytest.param(replace(ACME, expires_at=1.0), bearer(KEY), 401, id="expired"),
        pytest.param(replace(ACME, disabled=True), bearer(KEY), 403, id="disabled"),
    ],
)
async def test_only_wrong_keys_are_counted_as_guesses(site, record, headers, status):
    with_keys(site, record)
    statuses = {(await site.ask(complete(headers=headers))).status for _ in range(BURST + 5)}
    assert statuses == {status}


async def test_pages_that_need_no_key_are_answered_to_whoever_guesses(site):
    with_keys(site, ACME)
    for _ in range(BURST + 1):
        await site.ask(complete(headers=bearer(unknown_key())))
    for path in ("/health", "/ready", "/metrics"):
        assert (await site.ask(get(path, bearer(unknown_key())))).status == 200


# ---- names


OTHER = make_key("all", "k1")
NOTHING = "The model 'nothing' does not exist."
NOT_READY = "The model 'hidden' is not ready:"
TOLD_WITH_KEY = "a request with a key that may use it is told why."


def two_models(site) -> Table:
    ready = route_to(site.engines, aliases=("shown",))
    secret = route_to([], name="secret", served_name="secret-model", aliases=("hidden",), waiting="downloading /srv/x")
    return Table(models=(ready, secret), keys=(replace(ACME, models=("m",)), KeyRecord(hash_key(OTHER), "all", "k1")))


async def test_ready_tells_names_to_those_who_may_use_the_models(site):
    site.gateway.apply(two_models(site))
    stranger = await site.ask(get("/ready"))
    assert (stranger.status, stranger.json) == (503, {"status": "waiting"})
    narrow = await site.ask(get("/ready", bearer(KEY)))
    assert (narrow.status, narrow.json) == (503, {"status": "waiting", "ready": ["m"], "waiting": {}})
    everything = await site.ask(get("/ready", bearer(OTHER)))
    assert everything.json == {"status": "waiting", "ready": ["m"], "waiting": {"secret-model": "downloading /srv/x"}}


@pytest.mark.parametrize(
    "headers", [b"", bearer("rk_wrong"), bearer(unknown_key())], ids=["no", "malformed", "unknown"]
)
async def test_ready_tells_no_names_without_a_good_key(site, headers):
    site.gateway.apply(two_models(site))
    for path in ("/ready", "/ready/nothing", "/ready/secret-model", "/ready/hidden", "/ready/shown", "/v1/models"):
        response = await site.ask(get(path, headers))
        told = response.body.decode().replace(path.rpartition("/")[2], "")
        assert not [name for name in ('"m"', "secret", "hidden", "shown", "/srv/x") if name in told]


@pytest.mark.parametrize(
    ("path", "headers", "status", "body"),
    [
        pytest.param("/ready/m", b"", 200, {"status": "ready", "model": "m"}, id="name"),
        pytest.param("/ready/shown", b"", 200, {"status": "ready", "model": "shown"}, id="alias"),
        pytest.param("/ready/shown", bearer(KEY), 200, {"status": "ready", "model": "m"}, id="alias-with-key"),
        pytest.param("/ready/nothing", b"", 404, f"{NOTHING}", id="unknown-name"),
        pytest.param("/ready/nothing", bearer(KEY), 404, f"{NOTHING} Served here: m, shown.", id="unknown-with-key"),
        pytest.param("/ready/hidden", b"", 503, f"{NOT_READY} {TOLD_WITH_KEY}", id="waits"),
        pytest.param("/ready/hidden", bearer(KEY), 503, f"{NOT_READY} {TOLD_WITH_KEY}", id="waits-with-wrong-tenant"),
        pytest.param("/ready/hidden", bearer(OTHER), 503, f"{NOT_READY} downloading /srv/x.", id="waits-with-key"),
    ],
)
async def test_ready_of_a_model_tells_a_probe_that_knows_its_name(site, path, headers, status, body):
    site.gateway.apply(two_models(site))
    response = await site.ask(get(path, headers))
    assert (response.status, response.json if status == 200 else response.error["message"]) == (status, body)


async def test_pages_are_told_everything_while_nobody_needs_a_key(site):
    site.gateway.apply(replace(two_models(site), keys=()))
    assert (await site.ask(get("/ready"))).json["waiting"] == {"secret-model": "downloading /srv/x"}
