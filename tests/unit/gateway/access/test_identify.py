"""Who asks, and for what; and when the answer to that is found again."""

import pytest

from remuda.gateway.access.identify import Identifier
from remuda.gateway.access.keys import ANONYMOUS, STRANGER, KeyRing, hash_key, make_key
from remuda.gateway.api import routes
from remuda.gateway.api.problems import Refused
from remuda.gateway.http.exchange import Exchange, Link
from remuda.gateway.http.head import HeadLimits, RequestHead, parse_head
from remuda.gateway.record.record import Record
from remuda.gateway.table import KeyRecord, Side

LIMITS = HeadLimits(32_768, 100, 8_192)
KEY = make_key("acme", "k1")
RING = KeyRing([KeyRecord(hash_key(KEY), "acme", "k1", expires_at=2_000.0)])
WITH_KEY = b"x-api-key: %b\r\n" % KEY.encode()


class AtHome(Link):
    peer = "127.0.0.1"


def head_of(target: bytes, lines: bytes = b"", method: bytes = b"GET") -> RequestHead:
    return parse_head(b"%b %b HTTP/1.1\r\nhost: localhost\r\n%b\r\n" % (method, target, lines), LIMITS)


def make(*, keys: bool = True, **options) -> Identifier:
    identifier = Identifier(**{"metrics_open": True, "own_host_only": True, "origins": (), **options})
    identifier.read_clock = lambda: 1_000.0
    identifier.keys_wanted = keys
    if keys:
        identifier.take_keys(RING)
    return identifier


def ask(identifier: Identifier, head: RequestHead, at: float = 0.0):
    exchange = Exchange(AtHome(), head, 0)
    exchange.started_at = at
    record = Record()
    return identifier.identify(exchange, record), exchange, record


@pytest.mark.parametrize(
    ("target", "caller"),
    [(b"/health", STRANGER), (b"/ready", STRANGER), (b"/ready/m", STRANGER), (b"/metrics", STRANGER)],
)
def test_open_pages_are_answered_to_strangers(target, caller):
    assert ask(make(), head_of(target))[0].caller is caller
    assert ask(make(), head_of(target, WITH_KEY))[0].caller.tenant == "acme"
    assert ask(make(keys=False), head_of(target))[0].caller is ANONYMOUS


def test_metrics_need_a_key_where_they_are_not_open():
    with pytest.raises(Refused, match="No API key was sent"):
        ask(make(metrics_open=False), head_of(b"/metrics"))


def test_who_was_found_is_noted_for_the_log_and_for_limits():
    identity, exchange, record = ask(make(), head_of(b"/v1/models", WITH_KEY))
    assert (record.route_name, record.tenant, record.key_name) == ("models", "acme", "k1")
    assert (exchange.client, identity.tenant) == ("acme", "acme")


@pytest.mark.parametrize("keys", [True, False], ids=["stranger", "anonymous"])
def test_callers_without_a_key_have_no_tenant(keys):
    _, exchange, record = ask(make(keys=keys), head_of(b"/health"))
    assert (record.tenant, record.key_name, exchange.client) == ("", "", "")


def test_refused_request_has_the_name_of_its_route():
    record = Record()
    with pytest.raises(Refused):
        make().identify(Exchange(AtHome(), head_of(b"/v1/models"), 0), record)
    assert record.route_name == "models"


def test_refusals_are_counted_by_their_reason():
    identifier = make()
    for lines in (b"", b"", b"x-api-key: nonsense\r\n", b"x-api-key: %b\r\n" % make_key("acme", "k2").encode()):
        with pytest.raises(Refused):
            ask(identifier, head_of(b"/v1/models", lines))
    assert identifier.refused_keys == {"missing": 2, "malformed": 1, "unknown": 1}


# ---- found again


def test_identical_head_is_not_asked_again_for_a_second():
    identifier, head = make(), head_of(b"/v1/models", WITH_KEY)
    first, *_ = ask(identifier, head, at=10.0)
    assert ask(identifier, head, at=11.0)[0] is first
    assert ask(identifier, head, at=11.1)[0] is not first


def test_key_that_expires_is_refused_when_its_head_is_asked_again():
    identifier, head = make(), head_of(b"/v1/models", WITH_KEY)
    ask(identifier, head, at=10.0)
    identifier.read_clock = lambda: 2_000.0
    ask(identifier, head, at=11.0)
    with pytest.raises(Refused, match="has expired"):
        ask(identifier, head, at=11.1)


def test_new_keys_are_asked_for_at_once():
    identifier, head = make(), head_of(b"/v1/models", WITH_KEY)
    ask(identifier, head)
    identifier.take_keys(KeyRing([KeyRecord(hash_key(make_key("acme", "k2")), "acme", "k2")]))
    with pytest.raises(Refused, match="not known"):
        ask(identifier, head)


def test_new_paths_beside_the_gateway_count_at_once_and_the_same_ones_change_nothing():
    identifier, head = make(keys=False), head_of(b"/v1/models")
    first, *_ = ask(identifier, head)
    side = Side("models", "/v1/models", "/run/x.sock")
    identifier.take_sides((side,))
    assert ask(identifier, head)[0].route is side
    second, *_ = ask(identifier, head)
    identifier.take_sides((Side("models", "/v1/models", "/run/x.sock"),))
    assert ask(identifier, head)[0] is second
    identifier.take_sides(())
    assert ask(identifier, head)[0].route is first.route is routes.MODELS


def test_refusal_is_not_remembered():
    identifier, head = make(), head_of(b"/v1/models")
    for _ in range(2):
        with pytest.raises(Refused):
            ask(identifier, head)
    assert identifier.refused_keys == {"missing": 2}
    assert head.identity is None


# ---- web pages


@pytest.mark.parametrize(
    ("options", "lines", "refused"),
    [
        ({}, b"", False),
        ({}, b"origin: https://evil.example\r\n", True),
        ({"origins": ("https://evil.example",)}, b"origin: https://evil.example\r\n", False),
        ({"own_host_only": False}, b"origin: https://evil.example\r\n", True),
        ({"keys": True}, b"origin: https://evil.example\r\n" + WITH_KEY, False),
    ],
    ids=["no origin", "foreign", "allowed", "foreign to an open gateway", "with a key"],
)
def test_foreign_page_is_refused_by_a_gateway_without_keys(options, lines, refused):
    identifier = make(**{"keys": False, **options})
    head = head_of(b"/v1/chat/completions", lines, b"POST")
    if refused:
        with pytest.raises(Refused, match=r"web page of 'https://evil\.example'"):
            ask(identifier, head)
    else:
        ask(identifier, head)


def test_preflight_of_a_foreign_page_is_answered():
    head = head_of(b"/v1/chat/completions", b"origin: https://evil.example\r\n", b"OPTIONS")
    assert ask(make(keys=False), head)[0].route is routes.OPTIONS
