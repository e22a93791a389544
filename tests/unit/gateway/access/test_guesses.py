"""How many wrong keys an address may send."""

import pytest

from remuda.gateway.access.guesses import Guesses


def count_within(guesses: Guesses, address: str, tries: int, now_at: float = 0.0) -> int:
    return [guesses.count(address, now_at) for _ in range(tries)].count(True)


def test_twenty_are_within_the_bound_and_no_more():
    assert [Guesses().count("10.0.0.1", 0.0) for _ in range(3)] == [True] * 3
    guesses = Guesses()
    assert [guesses.count("10.0.0.1", 5.0) for _ in range(22)] == [True] * 20 + [False] * 2


def test_one_more_is_allowed_each_second():
    guesses = Guesses()
    assert count_within(guesses, "a", 100, 0.0) == 20
    assert count_within(guesses, "a", 100, 0.9) == 0
    assert count_within(guesses, "a", 100, 1.0) == 1
    assert count_within(guesses, "a", 100, 4.0) == 3
    assert count_within(guesses, "a", 100, 1e6) == 20


def test_addresses_do_not_pay_for_each_other():
    guesses = Guesses()
    assert [count_within(guesses, f"10.0.0.{number}", 30) for number in range(5)] == [20] * 5


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
        ("not:an:address", "not:an:addresS", False),
    ],
    ids=[
        "next address",
        "last of the same 64 bits",
        "other 64 bits",
        "mapped addresses",
        "a mapped address is its IPv4 address",
        "link-local with an interface",
        "no address",
        "no IPv6 address",
    ],
)
def test_ipv6_addresses_with_the_same_first_half_count_as_one(first, second, same):
    guesses = Guesses()
    assert count_within(guesses, first, 20) == 20
    assert count_within(guesses, second, 20) == (0 if same else 20)


def test_memory_is_bounded_and_the_newest_addresses_are_remembered():
    guesses = Guesses()
    for number in range(10_000):
        assert count_within(guesses, f"address {number}", 1) == 1
    assert len(guesses._left) == 4096
    assert count_within(guesses, "address 9999", 30) == 19
    assert count_within(guesses, "address 0", 30) == 20


def test_an_address_that_goes_on_guessing_is_not_forgotten():
    guesses = Guesses()
    assert count_within(guesses, "attacker", 20) == 20
    for number in range(10_000):
        guesses.count(f"address {number}", 0.0)
        assert not guesses.count("attacker", 0.0)
