"""`remuda gateway FILE` reads its files, then becomes the light gateway process."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from remuda.gateway.access.tenant_store import TenantStore

FILE = """\
apiVersion: remuda.dev/v1alpha1
kind: Model
metadata: {name: far}
spec:
  endpoints: [{url: "http://127.0.0.1:9"}]
"""


def start(tmp_path, *arguments):
    path = tmp_path / "model.yaml"
    path.write_text(FILE)
    command = [sys.executable, "-m", "remuda", "gateway", str(path), *arguments]
    env = {**os.environ, "REMUDA_HOME": str(tmp_path / "home"), "PYTHONPATH": "src"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env)


def wait_for_address(process):
    for line in process.stderr:
        if found := re.search(r"listening on (http://[\w.:]+)", line):
            return found[1]
    pytest.fail("it ended without listening")


def test_the_process_that_serves_is_the_one_that_was_started_and_holds_no_pydantic(tmp_path):
    process = start(tmp_path, "--port", "0")
    try:
        url = wait_for_address(process)
        with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:
            assert answer.status == 200
        assert "pydantic" not in Path(f"/proc/{process.pid}/maps").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=20)
    assert (process.returncode, "drained" in rest) == (0, True)


def test_gateway_that_starts_after_the_last_key_was_revoked_refuses_everybody_and_says_how_to_open_it(tmp_path):
    store = TenantStore.of_machine(tmp_path / "home" / "state")
    store.create("acme", (), None, 0.0)
    store.revoke("acme")
    process = start(tmp_path, "--port", "0")
    try:
        first_line = process.stderr.readline()
        url = wait_for_address(process)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{url}/v1/models", timeout=10)
        refused.value.close()
        assert refused.value.code == 401
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert first_line.endswith(
        "warning remuda.gateway: there is no API key, so the gateway refuses every request (hint: `remuda tenant "
        "create NAME` makes a key; `auth: {mode: open}` in a ModelGateway serves without keys)\n"
    )


def test_a_port_that_is_taken_is_one_clear_error(tmp_path):
    first = start(tmp_path, "--port", "0")
    try:
        port = wait_for_address(first).rpartition(":")[2]
        second = start(tmp_path, "--port", port)
        _, said = second.communicate(timeout=20)
        assert second.returncode == 1
        assert said.startswith("error: ")
        assert port in said
        assert "hint: " in said
        assert "Traceback" not in said
    finally:
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=20)
