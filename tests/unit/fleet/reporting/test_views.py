"""What others are told of the engines: the table, progress, errors, snippets."""

import ast
import json
import shlex
from pathlib import Path

import pytest

from remuda.engine.status import EngineFacts, EngineState, EngineStatus
from remuda.errors import RemudaError
from remuda.fleet.gateway_process import GatewayState, GatewayStatus
from remuda.fleet.reporting import events, views
from remuda.gateway.options import Listen, Tls
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Endpoint, ModelRoute, Table

HERE = Endpoint(id="demo-0", host="127.0.0.1", port=9000)


def status(state: EngineState, reason: str = "", **facts: int) -> EngineStatus:
    return EngineStatus("demo", 0, state, reason, "127.0.0.1", 9000, facts=EngineFacts(**facts))


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
def test_an_engine_is_described_in_one_line(known: EngineStatus, state: str, detail: str) -> None:
    step = views.describe_engine(known)
    assert (step.state, step.detail) == (state, detail)


def test_every_state_of_engine_and_gateway_has_a_line() -> None:
    for engine in EngineState:
        assert views.describe_engine(status(engine)).detail
    for gateway in GatewayState:
        assert views.describe_gateway(GatewayStatus(gateway), "http://127.0.0.1:1").detail


@pytest.mark.parametrize(
    ("settings", "port", "url"),
    [
        (GatewaySettings(), 0, "http://127.0.0.1:8080"),
        (GatewaySettings(listen=Listen(port=0)), 41234, "http://127.0.0.1:41234"),
        (GatewaySettings(listen=Listen(host="0.0.0.0")), 8080, "http://127.0.0.1:8080"),
        (GatewaySettings(listen=Listen(host="::")), 8080, "http://[::1]:8080"),
        (GatewaySettings(listen=Listen(host="::1")), 8080, "http://[::1]:8080"),
        (GatewaySettings(listen=Listen(host="example.org", tls=Tls("/c", "/k"))), 8443, "https://example.org:8443"),
    ],
)
def test_the_url_can_be_used_by_a_client_on_this_machine(settings: GatewaySettings, port: int, url: str) -> None:
    assert views.render_url(settings, port) == url


def test_ready_lists_served_models_and_failed_engines() -> None:
    table = Table(
        models=(
            ModelRoute("broken", "broken"),
            ModelRoute("embed", "embed", capabilities=("embedding",), endpoints=(HERE,)),
            ModelRoute("demo", "remuda-demo", endpoints=(HERE,)),
        )
    )
    ready = views.describe_ready(
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


def test_the_error_of_a_fleet_that_cannot_serve_lists_every_reason() -> None:
    one = views.explain_unservable([status(EngineState.FAILED, "no such file")], {}, Path("/logs"))
    assert one.message == "demo-0 cannot run: no such file"
    two = views.explain_unservable(
        [status(EngineState.FAILED, "a"), status(EngineState.FAILED, "b")], {}, Path("/logs")
    )
    assert two.message == "none of the 2 engines can run\ndemo-0: a\ndemo-0: b"


def test_a_reason_that_all_engines_share_is_given_once_with_its_hint() -> None:
    error = RemudaError("the disk is full", "free some space")
    failed = [status(EngineState.FAILED, views.render_failure(error))] * 2
    told = views.explain_unservable(failed, {"demo-0": error, "demo-1": error}, Path("/logs"))
    assert str(told) == "the disk is full\nhint: free some space"


ELSEWHERE = Endpoint(id="other-0", host="10.0.0.1", port=8000)
BASE = Table(
    models=(ModelRoute(name="demo", served_name="remuda-demo"), ModelRoute("other", "other", endpoints=(ELSEWHERE,)))
)


def engine(replica: int, state: EngineState, reason: str = "", max_model_len: int | None = None) -> EngineStatus:
    facts = EngineFacts(max_model_len=max_model_len)
    return EngineStatus("demo", replica, state, reason, "127.0.0.1", 9000 + replica, facts=facts)


def test_ready_engines_are_routed_to_and_draining_ones_finish() -> None:
    table = views.plan_table(
        BASE,
        [
            engine(0, EngineState.READY, max_model_len=2048),
            engine(1, EngineState.DRAINING, max_model_len=1024),
            engine(2, EngineState.STARTING, "loading weights"),
        ],
    )
    assert table.models[0].endpoints == (
        Endpoint(id="demo-0", host="127.0.0.1", port=9000, supervised=True),
        Endpoint(id="demo-1", host="127.0.0.1", port=9001, state="draining", supervised=True),
    )
    assert table.models[0].max_model_len == 1024
    assert table.models[0].waiting == ""


WAITING = Table(models=(ModelRoute("a", "a", waiting="loading"), ModelRoute("b", "b", waiting="fetching")))


@pytest.mark.parametrize(
    ("after", "words"),
    [
        pytest.param(WAITING, {}, id="nothing"),
        pytest.param(
            Table(models=(ModelRoute("a", "a", waiting="compiling"), WAITING.models[1])), {"a": "compiling"}, id="words"
        ),
        pytest.param(
            Table(models=(ModelRoute("a", "a"), ModelRoute("b", "b", waiting="x"))), {"a": "", "b": "x"}, id="all-words"
        ),
        pytest.param(Table(models=WAITING.models[:1]), None, id="a-model-less"),
        pytest.param(Table(models=WAITING.models[::-1]), None, id="another-order"),
        pytest.param(
            Table(models=(ModelRoute("a", "a", endpoints=(HERE,)), WAITING.models[1])), None, id="an-engine-more"
        ),
        pytest.param(Table(models=WAITING.models, keys_wanted=True), None, id="keys"),
    ],
)
def test_words_about_a_start_are_told_from_every_other_change(after: Table, words: dict[str, str] | None) -> None:
    assert views.find_new_words(WAITING, after) == words


def test_the_endpoints_of_a_model_that_runs_elsewhere_stay() -> None:
    assert views.plan_table(BASE, [engine(0, EngineState.READY)]).models[1] == BASE.models[1]


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([(EngineState.STARTING, "loading weights")], "starting: loading weights"),
        ([(EngineState.FAILED, "no such model"), (EngineState.STARTING, "importing vLLM")], "starting: importing vLLM"),
        ([(EngineState.FAILED, "no such model"), (EngineState.CRASH_LOOP, "killed")], "crash-loop: killed"),
        ([(EngineState.WAITING, "")], "waiting"),
    ],
    ids=["starting", "nearest-to-ready", "what-went-wrong", "no-reason"],
)
def test_a_model_without_an_engine_has_a_reason(states: list[tuple[EngineState, str]], said: str) -> None:
    statuses = [engine(i, state, reason) for i, (state, reason) in enumerate(states)]
    assert views.plan_table(BASE, statuses).models[0].waiting == said


def test_every_state_can_be_the_reason_to_wait() -> None:
    for state in EngineState:
        views.describe_wait([engine(0, state), engine(1, EngineState.STOPPED)])


CHAT = events.Ready(url="http://127.0.0.1:8080", models=("demo",), chat_model="demo", question='Say "hi", it\'s me')
TEXT = events.Ready(
    url="http://127.0.0.1:8080", models=("base",), completion_model="base", question="Once", needs_key=True
)


def body_of(curl: str) -> dict[str, object]:
    words = shlex.split(curl.replace("\\\n", " "))
    found: dict[str, object] = json.loads(words[words.index("-d") + 1])
    return found


@pytest.mark.parametrize("ready", [CHAT, TEXT], ids=["chat", "completion"])
def test_the_python_snippet_can_be_parsed(ready: events.Ready) -> None:
    ast.parse(views.render_python(ready))


def test_the_curl_snippet_is_quoted_for_the_shell() -> None:
    assert body_of(views.render_curl(CHAT)) == {
        "model": "demo",
        "messages": [{"role": "user", "content": 'Say "hi", it\'s me'}],
    }


def test_snippets_take_the_key_from_the_environment() -> None:
    assert '"Authorization: Bearer $REMUDA_API_KEY"' in views.render_curl(TEXT)
    assert 'os.environ["REMUDA_API_KEY"]' in views.render_python(TEXT)
    assert views.render_models("http://x", needs_key=True) == (
        'curl http://x/v1/models -H "Authorization: Bearer $REMUDA_API_KEY"'
    )
