import json

import msgspec
import pytest

from remuda.cli import main
from remuda.cli.commands import status
from remuda.fleet import control
from remuda.fleet.reporting.snapshot import EndpointSnapshot, EngineSnapshot, FleetSnapshot, GatewaySnapshot

READY = EngineSnapshot(
    id="demo-0",
    model="demo",
    replica=0,
    state="ready",
    reason="ready",
    address="127.0.0.1:9000",
    pid=42,
    version="0.32.0",
    kv_tokens=32768,
    kv_used=0.25,
    max_model_len=2048,
    running=2,
    waiting=1,
    generated_tokens_per_s=480.4,
    since=1000.0,
)
BROKEN = EngineSnapshot(
    id="demo-1",
    model="demo",
    replica=1,
    state="backoff",
    reason="killed by SIGKILL; starting again in 2 s",
    address="127.0.0.1:9001",
    restarts=3,
    since=1090.0,
)
SNAPSHOT = FleetSnapshot(
    version="0.1.0",
    phase="serving",
    pid=41,
    started_at=900.0,
    files=("/home/me/two.yaml",),
    gateway=GatewaySnapshot(
        state="listening",
        reason="",
        url="http://127.0.0.1:8080",
        auth="open",
        pid=43,
        requests={"completed": 1200, "client_disconnected": 3, "bad_request": 0},
    ),
    engines=(READY, BROKEN),
    endpoints=(EndpointSnapshot(model="far", url="http://10.0.0.1:8000"),),
)
SHOWN = """\
serving for 3 min 20 s, process 41: /home/me/two.yaml
gateway listening at http://127.0.0.1:8080/v1, no API key needed
requests: 1,200 completed, 3 client disconnected

ENGINE  STATE    SINCE  LOAD                             KV CACHE           CONTEXT  ADDRESS         PID  RESTARTS
demo-0  ready    1 min 40 s  2 running, 1 waiting, 480 tok/s  25% of 32,768 tok  2,048    127.0.0.1:9000  42   0
demo-1  backoff  10 s                                                                   127.0.0.1:9001       3

demo-1: killed by SIGKILL; starting again in 2 s

MODEL  RUNS AT
far    http://10.0.0.1:8000"""


def squeeze(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_status_shows_state_reason_and_load() -> None:
    assert squeeze(status.render_status(SNAPSHOT, 1100.0, None)) == squeeze(SHOWN)


def test_a_narrow_terminal_shows_blocks() -> None:
    shown = status.render_status(SNAPSHOT, 1100.0, 60)
    assert "engine:   demo-0\nstate:    ready\n" in shown
    assert max(map(len, shown.splitlines())) <= 64


def test_fleet_without_engines_of_its_own() -> None:
    gateway = msgspec.structs.replace(SNAPSHOT.gateway, state="backoff", reason="killed", requests=None, restarts=2)
    shown = status.render_status(msgspec.structs.replace(SNAPSHOT, engines=(), gateway=gateway), 1100.0, None)
    assert "gateway backoff (killed) at http://127.0.0.1:8080/v1, no API key needed, restarted 2 times" in shown
    assert "requests: unknown" in shown
    assert "ENGINE" not in shown


def test_json_has_a_stable_schema(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(control, "ask_status", lambda _: SNAPSHOT)
    assert main.run_command(["status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert msgspec.convert(told, FleetSnapshot) == SNAPSHOT
    assert told["schema"] == "remuda.dev/fleet-status/v1"
    assert sorted(told) == [
        "endpoints", "engines", "files", "gateway", "phase", "pid", "schema", "started_at", "version",
    ]  # fmt: skip
    assert sorted(told["engines"][0]) == [
        "address", "generated_tokens_per_s", "id", "kv_tokens", "kv_used", "log", "max_model_len", "model", "pid",
        "reason", "replica", "restarts", "running", "since", "state", "version", "waiting",
    ]  # fmt: skip
