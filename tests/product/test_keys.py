"""`remuda tenant` on a running fleet: the first key closes the gateway, and revoking the key does not open it again."""

import contextlib
from pathlib import Path

import httpx
import pytest
from tests.product.driving import GONE_S, Machine, kill, until

ROUTED = """
apiVersion: remuda.dev/v1alpha1
kind: Model
metadata: {{name: routed}}
spec:
  endpoints: [{{url: "http://{0}", model: remuda-demo}}]
"""
"""A fleet with a gateway of its own, and an engine of the fleet that all tests share."""


@pytest.fixture
def file(busy_machine: Machine, tmp_path: Path) -> Path:
    path = tmp_path / "routed.yaml"
    path.write_text(ROUTED.format(busy_machine.status()["engines"][0]["address"]))
    return path


class Served:
    """A fleet that serves the model `routed`."""

    def __init__(self, machine: Machine, file: Path) -> None:
        started = machine.run("up", "-d", "--port", "0", str(file))
        assert started.status == 0, started.err
        self.url = machine.status()["gateway"]["url"]

    def ask(self, key: str = "") -> int:
        """The status of a completion; 0 while nobody listens."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        body = {"model": "routed", "prompt": "Hello", "max_tokens": 1}
        with contextlib.suppress(httpx.ConnectError):
            return httpx.post(f"{self.url}/v1/completions", json=body, headers=headers, trust_env=False).status_code
        return 0


@pytest.mark.req("G3.keys", level="run", on="vLLM")
def test_keys_come_and_go_while_the_fleet_serves(machine: Machine, file: Path) -> None:
    fleet = Served(machine, file)
    assert fleet.ask() == 200
    made = machine.run("tenant", "create", "acme")
    assert made.status == 0, made.err
    key = made.out.strip()
    until(lambda: fleet.ask() == 401, GONE_S, "a key is asked for")
    assert fleet.ask(key) == 200
    assert fleet.ask("wrong") == 401
    assert machine.status()["gateway"]["auth"] == "keys"
    assert ", API key needed" in machine.run("status").out
    refused = machine.run("chat", "-m", "Hello")
    assert refused.status == 1
    assert "REMUDA_API_KEY" in refused.err
    revoked = machine.run("tenant", "revoke", "acme", "--yes")
    assert revoked.status == 0, revoked.err
    until(lambda: fleet.ask(key) == 401, GONE_S, "the revoked key is refused")
    assert fleet.ask() == 401
    kill(machine.status()["gateway"]["pid"])
    until(lambda: fleet.ask() == 401, GONE_S, "a gateway that is started again is closed")


@pytest.mark.req("G3.keys", level="run", on="vLLM")
def test_fleet_that_starts_after_the_last_key_was_revoked_is_closed_until_somebody_opens_it(
    machine: Machine, file: Path
) -> None:
    for arguments in (("create", "acme"), ("revoke", "acme", "--yes")):
        assert machine.run("tenant", *arguments).status == 0
    closed = Served(machine, file)
    assert closed.ask() == 401
    assert (
        "warning: there is no API key, so the gateway refuses every request"
        in machine.run("up", "--dry-run", str(file)).err
    )
    assert machine.run("down").status == 0
    (machine.home / "state" / "tenants.json").unlink()
    assert Served(machine, file).ask() == 200
