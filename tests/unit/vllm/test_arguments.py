"""Command lines per machine against golden files; rewrite them with REMUDA_GOLDEN=write."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.vllm.models import CASES, CPU, GPU, make_model

from remuda.vllm.arguments import (
    ArgumentsError,
    cpu_block_size,
    render_arguments,
    render_environment,
    render_notes,
)
from remuda.vllm.dialect import DIALECTS
from remuda.vllm.flags import flags_of

GOLDEN = Path(__file__).parents[2] / "golden" / "vllm"


def render_case(name: str) -> str:
    """Flags one per line with their values, environment, notes."""
    model, target = CASES[name]
    lines: list[str] = []
    for word in render_arguments(model, target):
        if word.startswith("--"):
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    environment = [f"{key}={value}" for key, value in sorted(render_environment(model, target).items())]
    notes = [f"note: {note}" for note in render_notes(model, target)]
    return "\n".join([*lines, "", *environment, *(["", *notes] if notes else [])]) + "\n"


@pytest.mark.parametrize("name", CASES)
def test_the_command_line_is_the_golden_one(name):
    path = GOLDEN / f"{name}.txt"
    rendered = render_case(name)
    if os.environ.get("REMUDA_GOLDEN") == "write":
        path.write_text(rendered, encoding="utf-8")
    assert rendered == path.read_text(encoding="utf-8")


def test_every_golden_file_has_its_case():
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_every_rendered_flag_is_one_of_this_version_of_vllm(name):
    model, target = CASES[name]
    known = flags_of(model.spec.engine.version)
    flags = [word.removeprefix("--") for word in render_arguments(model, target) if word.startswith("--")]
    assert [flag for flag in flags if flag not in known and flag.removeprefix("no-") not in known] == []
    assert len(flags) == len(set(flags))


@pytest.mark.req("E8.no-telemetry", level="unit")
@pytest.mark.parametrize("name", CASES)
def test_the_engine_listens_on_loopback_and_phones_nobody(name):
    model, target = CASES[name]
    arguments = render_arguments(model, target)
    assert arguments[arguments.index("--host") + 1] == "127.0.0.1"
    environment = render_environment(model, target)
    assert {environment[key] for key in ("VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "HF_HUB_OFFLINE")} == {"1"}
    assert environment["VLLM_HOST_IP"] == "127.0.0.1"


REFUSED = {
    "owned": (
        {"extraArgs": {"host": "0.0.0.0"}},
        (
            "extraArgs.host: --host cannot be set: Remuda chooses the engine's address: it listens on loopback, behind "
            "the gateway\nhint: remove it"
        ),
    ),
    "owned key": (
        {"extraArgs": {"api-key": "x"}},
        (
            "extraArgs.api-key: --api-key cannot be set: the gateway authenticates clients (Tenants), and only the "
            "gateway can reach the engine\nhint: remove it"
        ),
    ),
    "owned tls": (
        {"extraArgs": {"ssl-keyfile": "/k"}},
        (
            "extraArgs.ssl-keyfile: --ssl-keyfile cannot be set: TLS ends at the gateway (ModelGateway listen.tls)\n"
            "hint: remove it"
        ),
    ),
    "has a field": (
        {"extraArgs": {"max-model-len": 5}},
        "extraArgs.max-model-len: --max-model-len has a field of its own\nhint: use engine.maxModelLen",
    ),
    "has a field, negated": (
        {"extraArgs": {"no-enable-prefix-caching": True}},
        (
            "extraArgs.no-enable-prefix-caching: --no-enable-prefix-caching has a field of its own\n"
            "hint: use engine.prefixCaching"
        ),
    ),
    "unknown": (
        {"extraArgs": {"stream-intervall": 4}},
        "extraArgs.stream-intervall: vLLM 0.32.0 has no flag --stream-intervall\nhint: did you mean stream-interval?",
    ),
    "negative form": (
        {"extraArgs": {"no-async-scheduling": True}},
        (
            "extraArgs.no-async-scheduling: --no-async-scheduling is the negative form of --async-scheduling\n"
            "hint: write async-scheduling: false"
        ),
    ),
    "environment": (
        {"env": [{"name": "VLLM_API_KEY", "value": "x"}]},
        (
            "env[0]: VLLM_API_KEY cannot be set: the gateway authenticates clients (Tenants), and only the gateway can "
            "reach the engine\nhint: remove it"
        ),
    ),
    "a fork server": (
        {"env": [{"name": "VLLM_WORKER_MULTIPROC_METHOD", "value": "forkserver"}]},
        (
            "env[0]: VLLM_WORKER_MULTIPROC_METHOD cannot be forkserver: processes of a fork server do not end with the "
            "engine, so they would outlive an engine that is killed\nhint: use spawn"
        ),
    ),
    "reserved name": (
        {"env": [{"name": "REMUDA_PARENT_PID", "value": "1"}]},
        "env[0]: REMUDA_PARENT_PID cannot be set: names that begin with REMUDA_ are reserved\nhint: remove it",
    ),
}


@pytest.mark.parametrize(("engine", "message"), REFUSED.values(), ids=REFUSED)
def test_a_flag_or_variable_that_a_file_may_not_set_is_refused_with_a_hint(engine, message):
    with pytest.raises(ArgumentsError) as caught:
        render_arguments(make_model("m", **engine), GPU)
    assert str(caught.value) == f"model m: {message}"


EXTRA = {
    "number": ({"stream-interval": 4}, ("--stream-interval", "4")),
    "switch on": ({"async-scheduling": True}, ("--async-scheduling",)),
    "switch off": ({"async-scheduling": False}, ("--no-async-scheduling",)),
    "mapping": ({"hf-overrides": {"a": [1]}}, ("--hf-overrides", '{"a":[1]}')),
    "list": ({"cudagraph-capture-sizes": [1, 2]}, ("--cudagraph-capture-sizes", "1", "2")),
    "list of one": ({"cudagraph-capture-sizes": 4}, ("--cudagraph-capture-sizes", "4")),
    "list in one word": ({"allowed-origins": ["https://a"]}, ("--allowed-origins", '["https://a"]')),
    "bare": ({"aggregate-engine-logging": True}, ("--aggregate-engine-logging",)),
    "bare, not wanted": ({"aggregate-engine-logging": False, "seed": 7}, ("--seed", "7")),
    "text": ({"tokenizer": "/t"}, ("--tokenizer", "/t")),
}


@pytest.mark.parametrize(("extra", "words"), EXTRA.values(), ids=EXTRA)
def test_free_arguments_come_last_in_the_form_vllm_takes(extra, words):
    assert render_arguments(make_model("m", extraArgs=extra), GPU)[-len(words) :] == words


@pytest.mark.req("E1.cpu-blocks", level="unit")
@given(st.integers(1, 2048))
def test_a_block_on_a_cpu_is_the_next_multiple_of_32_and_the_user_is_told(size):
    model = make_model("m", blockSize=size)
    mapped = cpu_block_size(model.spec.engine)
    assert mapped is not None
    assert size <= mapped < size + 32
    assert mapped % 32 == 0
    assert any("blockSize" in note for note in render_notes(model, CPU)) == (mapped != size)


def test_a_gpu_takes_the_block_size_as_it_is_written():
    arguments = render_arguments(make_model("m", blockSize=16), GPU)
    assert arguments[arguments.index("--block-size") + 1] == "16"


def test_the_other_ways_to_start_processes_are_the_users_to_choose():
    model = make_model("m", env=[{"name": "VLLM_WORKER_MULTIPROC_METHOD", "value": "spawn"}])
    render_arguments(model, CPU)
    assert render_environment(model, CPU)["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"


def test_the_users_environment_wins_over_defaults():
    model = make_model("m", env=[{"name": "OMP_NUM_THREADS", "value": "9"}])
    assert render_environment(model, CPU)["OMP_NUM_THREADS"] == "9"


@pytest.mark.parametrize(("cores", "bound"), [((0, 1), "0|1"), ((0, 1, 2, 3, 4), "0,1|2,3"), ((0,), "nobind")])
def test_ranks_on_a_cpu_get_equal_shares_of_its_cores(cores, bound):
    model = make_model("m", parallel={"tensor": 2})
    assert render_environment(model, replace(CPU, cores=cores))["VLLM_CPU_OMP_THREADS_BIND"] == bound


def test_without_chunked_prefill_a_step_on_a_cpu_takes_a_whole_prompt():
    arguments = render_arguments(make_model("m", chunkedPrefill=False, maxModelLen=9000), CPU)
    assert arguments[arguments.index("--max-num-batched-tokens") + 1] == "9000"


def test_every_dialect_has_its_flags():
    for version in DIALECTS:
        assert {"model", "port", "shutdown-timeout", "served-model-name"} <= set(flags_of(version))
