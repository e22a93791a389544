import pytest

from remuda.engine.status import EngineState, EngineStatus
from remuda.fleet import roster
from remuda.gateway.table import Endpoint, ModelRoute, Table

ELSEWHERE = Endpoint(id="other-0", host="10.0.0.1", port=8000)
BASE = Table(
    models=(ModelRoute(name="demo", served_name="remuda-demo"), ModelRoute("other", "other", endpoints=(ELSEWHERE,)))
)


def engine(replica: int, state: EngineState, reason: str = "", max_model_len: int | None = None) -> EngineStatus:
    return EngineStatus(
        f"demo-{replica}", "demo", state, reason, "127.0.0.1", 9000 + replica, max_model_len=max_model_len
    )


def test_ready_engines_are_routed_to_and_draining_ones_finish() -> None:
    table = roster.plan_table(
        BASE,
        [
            engine(0, EngineState.READY, max_model_len=2048),
            engine(1, EngineState.DRAINING, max_model_len=1024),
            engine(2, EngineState.STARTING, "loading weights"),
        ],
    )
    assert table.models[0].endpoints == (
        Endpoint(id="demo-0", host="127.0.0.1", port=9000),
        Endpoint(id="demo-1", host="127.0.0.1", port=9001, state="draining"),
    )
    assert table.models[0].max_model_len == 1024
    assert table.models[0].waiting == ""


def test_engines_that_run_elsewhere_stay() -> None:
    assert roster.plan_table(BASE, [engine(0, EngineState.READY)]).models[1] == BASE.models[1]


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
def test_model_without_engine_says_why(states: list[tuple[EngineState, str]], said: str) -> None:
    statuses = [engine(i, state, reason) for i, (state, reason) in enumerate(states)]
    assert roster.plan_table(BASE, statuses).models[0].waiting == said


def test_every_state_has_its_place() -> None:
    for state in EngineState:
        roster.describe_wait([engine(0, state), engine(1, EngineState.STOPPED)])
