import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.gateway.access import keys
from remuda.gateway.access.keys import ANONYMOUS, KeyRefusal, KeyRing, Principal, hash_key, make_key, parse_hash
from remuda.gateway.table import KeyRecord

GOOD, ROTATED, OLD, OFF, NARROW = (make_key("acme", f"k{number}") for number in range(5))
FOREIGN = "sk-made-by-somebody-else"
NOW_S = 1_000.0
RING = KeyRing(
    [
        KeyRecord(hash=hash_key(GOOD), tenant="acme", name="k0"),
        KeyRecord(hash=hash_key(ROTATED), tenant="acme", name="k1", expires_at=NOW_S + 1),
        KeyRecord(hash=hash_key(OLD), tenant="acme", name="k2", expires_at=NOW_S),
        KeyRecord(hash=hash_key(OFF), tenant="off", name="k3", disabled=True),
        KeyRecord(hash=hash_key(NARROW), tenant="beta", name="k4", models=("demo", "other")),
        KeyRecord(hash=hash_key(FOREIGN), tenant="moved", name="k5"),
    ]
)


def bearer(key: str) -> bytes:
    return b"Bearer " + key.encode()


def check(authorization: bytes | None = None, x_api_key: bytes | None = None) -> Principal | KeyRefusal:
    return RING.check(authorization, x_api_key, NOW_S)


@pytest.mark.parametrize(
    ("authorization", "x_api_key", "expected"),
    [
        (bearer(GOOD), None, ("acme", "k0")),
        (None, GOOD.encode(), ("acme", "k0")),
        (b"bearer   " + GOOD.encode() + b" ", None, ("acme", "k0")),
        (b"BEARER " + GOOD.encode(), None, ("acme", "k0")),
        (bearer(ROTATED), None, ("acme", "k1")),
        (bearer(FOREIGN), None, ("moved", "k5")),
        (bearer(GOOD), b"rk_other", ("acme", "k0")),
        (b"Basic dXNlcjpwYXNz", GOOD.encode(), ("acme", "k0")),
    ],
    ids=[
        "bearer",
        "x-api-key, as Anthropic's clients send it",
        "spaces around it",
        "any case of the scheme",
        "a second key of the same tenant",
        "a key issued elsewhere",
        "bearer wins over x-api-key",
        "x-api-key beside another scheme",
    ],
)
def test_a_good_key_names_its_tenant(authorization, x_api_key, expected):
    who = check(authorization, x_api_key)
    assert (who.tenant, who.key) == expected


@pytest.mark.req("G3.expiry", level="unit")
@pytest.mark.parametrize(
    ("authorization", "x_api_key", "expected"),
    [
        (None, None, KeyRefusal.MISSING),
        (b"", None, KeyRefusal.MISSING),
        (b"Bearer ", None, KeyRefusal.MISSING),
        (None, b"  ", KeyRefusal.MISSING),
        (b"Basic dXNlcjpwYXNz", None, KeyRefusal.MALFORMED),
        (b"Bearer", None, KeyRefusal.MALFORMED),
        (GOOD.encode(), None, KeyRefusal.MALFORMED),
        (b"Bearer sk-1234", None, KeyRefusal.MALFORMED),
        (b"Bearer " + b"x" * 1_000_000, None, KeyRefusal.MALFORMED),
        (b"Bearer \xff\x00", None, KeyRefusal.MALFORMED),
        (bearer(GOOD + "x"), None, KeyRefusal.UNKNOWN),
        (bearer(GOOD[:-1]), None, KeyRefusal.UNKNOWN),
        (bearer(make_key("acme", "k0")), None, KeyRefusal.UNKNOWN),
        (bearer(OLD), None, KeyRefusal.EXPIRED),
        (bearer(OFF), None, KeyRefusal.DISABLED),
    ],
    ids=[
        "no header",
        "an empty header",
        "a scheme without a key",
        "an empty x-api-key",
        "another scheme",
        "half a scheme",
        "no scheme",
        "not one of ours",
        "a megabyte",
        "not text",
        "one letter more",
        "one letter less",
        "right names, wrong secret",
        "expired this second",
        "a disabled tenant",
    ],
)
def test_a_key_that_is_not_good_is_refused_with_the_reason(authorization, x_api_key, expected):
    assert check(authorization, x_api_key) is expected


def test_a_key_lives_until_its_last_moment():
    assert RING.check(bearer(ROTATED), None, NOW_S + 0.999).tenant == "acme"
    assert RING.check(bearer(ROTATED), None, NOW_S + 1) is KeyRefusal.EXPIRED


def test_what_a_tenant_may_use():
    assert not RING.check(bearer(NARROW), None, NOW_S).may_use("third")
    assert RING.check(bearer(NARROW), None, NOW_S).may_use("demo")
    assert RING.check(bearer(GOOD), None, NOW_S).may_use("third")
    assert ANONYMOUS.may_use("third")


def test_an_empty_ring_lets_nobody_in():
    assert KeyRing([]).check(bearer(GOOD), None, NOW_S) is KeyRefusal.UNKNOWN
    assert (len(KeyRing([])), len(RING)) == (0, 6)


def test_keys_whose_digests_begin_alike_are_told_apart(monkeypatch):
    """The ring looks up by the first bytes of a digest, and must compare the rest."""
    twins = {b"one": b"\1" * 8 + b"\2" * 24, b"two": b"\1" * 8 + b"\3" * 24, b"three": b"\1" * 8 + b"\4" * 24}
    ring = KeyRing(
        KeyRecord(hash=keys.HASH_PREFIX + twins[key].hex(), tenant=key.decode(), name="k") for key in (b"one", b"two")
    )

    class Digest:
        digest_size = 32

        def __init__(self, key: bytes) -> None:
            self.key = key

        def digest(self) -> bytes:
            return twins[self.key]

    monkeypatch.setattr(keys.hashlib, "sha256", Digest)
    assert ring.check(b"Bearer one", None, NOW_S).tenant == "one"
    assert ring.check(b"Bearer two", None, NOW_S).tenant == "two"
    assert ring.check(b"Bearer three", None, NOW_S) is KeyRefusal.MALFORMED


def test_the_ring_holds_no_key():
    held = repr(RING._entries)
    assert not any(key in held for key in (GOOD, ROTATED, OLD, OFF, NARROW, FOREIGN))


def test_a_made_key_says_whose_it_is_and_matches_the_pattern_scanners_look_for():
    made = make_key("acme-labs", "k12")
    assert made.startswith("rk_acme-labs-k12_")
    assert keys.KEY_PATTERN.fullmatch(made.encode())
    assert len(made.rpartition("_")[2]) * math.log2(62) >= 256


def test_keys_do_not_repeat():
    assert len({make_key("acme", "k1") for _ in range(1_000)}) == 1_000


def test_a_hash_is_the_plain_sha256():
    assert hash_key("abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert parse_hash(hash_key("abc")) == hashlib.sha256(b"abc").digest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "ba7816bf",
        "sha256:zz",
        "md5:900150983cd24fb0d6963f7d28e17f72",
        "sha256:" + "0" * 62,
        "sha256:" + "0 " * 32,
    ],
)
def test_what_is_no_hash_is_refused(text):
    with pytest.raises(ValueError, match="not a key hash"):
        parse_hash(text)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_no_header_value_is_let_in_or_breaks_the_check(authorization, x_api_key):
    assert isinstance(check(authorization, x_api_key), KeyRefusal)
