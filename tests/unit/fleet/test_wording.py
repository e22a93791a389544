from pathlib import Path

import pytest

from remuda.engine.status import EngineState, EngineStatus
from remuda.errors import RemudaError
from remuda.fleet import events, wording
from remuda.fleet.gateway_child import GatewayState, GatewayStatus
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Endpoint, ModelRoute, Table

HERE = Endpoint(id="demo-0", host="127.0.0.1", port=9000)


def status(state: EngineState, reason: str = "", **facts: int) -> EngineStatus:
    return EngineStatus("demo-0", "demo", state, reason, "127.0.0.1", 9000, **facts)


@pytest.mark.parametrize(
    ("known", "state", "detail"),
    [
        (status(EngineState.WAITING), "running", "waiting"),
        (status(EngineState.STARTING, "loading weights"), "running", "loading weights"),
        (status(EngineState.READY, kv_tokens=32, max_model_len=8), "done", "ready, KV cache 32 tokens, context 8"),
        (status(EngineState.READY), "done", "ready"),
        (status(EngineState.BACKOFF, "killed by SIGKILL"), "warned", "backoff: killed by SIGKILL"),
        (status(EngineState.CRASH_LOOP, "died 3 times"), "failed", "crash-loop: died 3 times"),
        (status(EngineState.FAILED, "no such file"), "failed", "failed: no such file"),
        (status(EngineState.STOPPED, "ended as asked"), "done", "stopped"),
    ],
    ids=lambda value: value.state if isinstance(value, EngineStatus) else "",
)  # fmt: skip
def test_engine_reads_as_one_line(known: EngineStatus, state: str, detail: str) -> None:
    step = wording.describe_engine(known)
    assert (step.state, step.detail) == (state, detail)


def test_every_state_has_words() -> None:
    for engine in EngineState:
        assert wording.describe_engine(status(engine)).detail
    for gateway in GatewayState:
        assert wording.describe_gateway(GatewayStatus(gateway), "http://127.0.0.1:1").detail


@pytest.mark.parametrize(
    ("settings", "port", "url"),
    [
        (GatewaySettings(), 0, "http://127.0.0.1:8080"),
        (GatewaySettings(port=0), 41234, "http://127.0.0.1:41234"),
        (GatewaySettings(host="0.0.0.0"), 8080, "http://127.0.0.1:8080"),
        (GatewaySettings(host="::"), 8080, "http://[::1]:8080"),
        (GatewaySettings(host="::1"), 8080, "http://[::1]:8080"),
        (GatewaySettings(host="example.org", tls_cert_file="/c", tls_key_file="/k"), 8443, "https://example.org:8443"),
    ],
)
def test_url_is_one_a_client_can_use(settings: GatewaySettings, port: int, url: str) -> None:
    assert wording.render_url(settings, port) == url


def test_ready_names_what_serves_and_what_does_not() -> None:
    table = Table(
        models=(
            ModelRoute("broken", "broken"),
            ModelRoute("embed", "embed", capabilities=("embedding",), endpoints=(HERE,)),
            ModelRoute("demo", "remuda-demo", endpoints=(HERE,)),
        )
    )
    ready = wording.describe_ready(
        "http://x", table, [status(EngineState.FAILED, "no such file")], "Hello?", needs_key=True
    )
    assert ready == events.Ready(
        url="http://x",
        models=("embed", "remuda-demo"),
        chat_model="remuda-demo",
        completion_model="remuda-demo",
        needs_key=True,
        question="Hello?",
        failed=("demo-0: no such file",),
    )


def test_hopeless_fleet_lists_every_reason() -> None:
    one = wording.explain_hopeless([status(EngineState.FAILED, "no such file")], {}, Path("/logs"))
    assert one.message == "demo-0 cannot run: no such file"
    two = wording.explain_hopeless(
        [status(EngineState.FAILED, "a"), status(EngineState.FAILED, "b")], {}, Path("/logs")
    )
    assert two.message == "none of the 2 engines can run\ndemo-0: a\ndemo-0: b"


def test_one_reason_for_all_engines_is_told_once_with_its_hint() -> None:
    error = RemudaError("the disk is full", "free some space")
    failed = [status(EngineState.FAILED, wording.render_failure(error))] * 2
    told = wording.explain_hopeless(failed, {"demo-0": error, "demo-1": error}, Path("/logs"))
    assert str(told) == "the disk is full\nhint: free some space"
