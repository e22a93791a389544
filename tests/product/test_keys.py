"""`remuda tenant` on a running fleet: the first key closes the gateway, and revoking the key does not open it again."""

import contextlib
from collections.abc import Callable

import httpx
import pytest
from tests.product.driving import GONE_S, Machine, kill, until


@pytest.mark.req("G3.keys", level="run", on="vLLM")
def test_keys_come_and_go_while_the_fleet_serves(busy_machine: Machine, url: str) -> None:
    def ask(key: str = "") -> int:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        body = {"model": "remuda-demo", "prompt": "Hello", "max_tokens": 1}
        return httpx.post(f"{url}/v1/completions", json=body, headers=headers, trust_env=False).status_code

    assert ask() == 200
    made = busy_machine.run("tenant", "create", "acme")
    try:
        assert made.status == 0, made.err
        key = made.out.strip()
        until(lambda: ask() == 401, GONE_S, "a key is asked for")
        assert ask(key) == 200
        assert ask("wrong") == 401
        assert busy_machine.status()["gateway"]["auth"] == "keys"
        assert ", API key needed" in busy_machine.run("status").out
        refused = busy_machine.run("chat", "-m", "Hello")
        assert refused.status == 1
        assert "REMUDA_API_KEY" in refused.err
    finally:
        revoked = busy_machine.run("tenant", "revoke", "acme", "--yes")
    assert revoked.status == 0, revoked.err
    until(lambda: ask(key) == 401, GONE_S, "the revoked key is refused, and nothing opens by itself")
    assert ask() == 401
    kill(busy_machine.status()["gateway"]["pid"])
    until(lambda: ask_if_up(ask) == 200, GONE_S, "a gateway that is started without keys is open")


def ask_if_up(ask: Callable[[], int]) -> int:
    """Ask; 0 while nobody listens."""
    with contextlib.suppress(httpx.ConnectError):
        return ask()
    return 0
