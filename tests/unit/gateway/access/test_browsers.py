"""Which Host headers name this machine, and which pages a gateway counts as its own."""

import pytest

from remuda.gateway.access.browsers import is_loopback_host, is_own_origin


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(b"localhost", id="name"),
        pytest.param(b"localhost:8080", id="name-and-port"),
        pytest.param(b"LocalHost:8080", id="upper-case"),
        pytest.param(b"localhost.", id="trailing-dot"),
        pytest.param(b"localhost.:8080", id="trailing-dot-and-port"),
        pytest.param(b"app.localhost:8080", id="name-under-localhost"),
        pytest.param(b"a.b-c.localhost", id="deeper-name-under-localhost"),
        pytest.param(b"127.0.0.1", id="ipv4"),
        pytest.param(b"127.0.0.1:8080", id="ipv4-and-port"),
        pytest.param(b"127.1.2.3:1", id="other-loopback-ipv4"),
        pytest.param(b"[::1]", id="ipv6"),
        pytest.param(b"[::1]:65535", id="ipv6-and-port"),
    ],
)
def test_host_names_this_machine(host):
    assert is_loopback_host(host)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"evil.example", id="name"),
        pytest.param(b"localhost.evil.example", id="localhost-as-a-label"),
        pytest.param(b"127.0.0.1.evil.example", id="address-as-labels"),
        pytest.param(b"evil.localhost.example", id="localhost-in-the-middle"),
        pytest.param(b"evillocalhost", id="localhost-as-a-suffix"),
        pytest.param(b".localhost", id="empty-label"),
        pytest.param(b"localhost:8080.evil.example", id="port-as-a-label"),
        pytest.param(b"localhost@evil.example", id="user-name"),
        pytest.param(b"evil.example:80:127.0.0.1", id="address-behind-a-port"),
        pytest.param(b"localhost:", id="port-without-digits"),
        pytest.param(b"localhost:123456", id="port-too-long"),
        pytest.param(b"localhost\n", id="newline"),
        pytest.param(b"localhost..", id="two-dots"),
        pytest.param(b"0.0.0.0:8080", id="any-address"),
        pytest.param(b"128.0.0.1", id="next-network"),
        pytest.param(b"1127.0.0.1", id="digit-before"),
        pytest.param(b"127.0.0", id="three-numbers"),
        pytest.param(b"::1", id="ipv6-without-brackets"),
        pytest.param(b"[::2]", id="other-ipv6"),
        pytest.param(b"[::ffff:10.0.0.1]", id="mapped-address"),
        pytest.param(b"[fe80::1]:8080", id="link-local"),
    ],
)
def test_host_names_another_machine(host):
    assert not is_loopback_host(host)


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "own"),
    [
        pytest.param(b"http://localhost:8080", b"localhost:8080", (), True, id="same-host"),
        pytest.param(b"http://LOCALHOST:8080", b"localhost:8080", (), True, id="any-case"),
        pytest.param(b"https://models.example", b"models.example", (), True, id="same-host-behind-tls"),
        pytest.param(b"http://[::1]:8080", b"[::1]:8080", (), True, id="ipv6"),
        pytest.param(b"http://localhost:3000", b"localhost:8080", (), False, id="other-port"),
        pytest.param(b"http://localhost", b"localhost:8080", (), False, id="port-missing"),
        pytest.param(b"http://evil.example", b"localhost:8080", (), False, id="other-host"),
        pytest.param(b"http://localhost:8080.evil.example", b"localhost:8080", (), False, id="longer-host"),
        pytest.param(b"http://evil.example?localhost:8080", b"localhost:8080", (), False, id="query"),
        pytest.param(b"null", b"localhost:8080", (), False, id="null"),
        pytest.param(b"null", b"", (), False, id="null-and-empty-host"),
        pytest.param(b"", b"", (), False, id="empty"),
        pytest.param(b"localhost:8080", b"localhost:8080", (), False, id="no-scheme"),
        pytest.param(b"file://", b"localhost:8080", (), False, id="file"),
        pytest.param(b"file://", b"", (), False, id="file-and-empty-host"),
        pytest.param(b"http://localhost:8080", None, (), False, id="no-host"),
        pytest.param(b"https://app.example", b"localhost", (b"https://app.example",), True, id="allowed"),
        pytest.param(b"http://app.example", b"localhost", (b"https://app.example",), False, id="allowed-other-scheme"),
        pytest.param(b"https://app.example:444", b"localhost", (b"https://app.example",), False, id="allowed-port"),
        pytest.param(b"https://evil.example", b"localhost", (b"*",), True, id="all-allowed"),
        pytest.param(b"null", b"localhost", (b"*",), True, id="all-allowed-null"),
    ],
)
def test_origin_is_a_page_of_the_gateways_own(origin, host, allowed, own):
    assert is_own_origin(origin, host, frozenset(allowed)) is own
