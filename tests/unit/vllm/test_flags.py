"""Values of free arguments against what vLLM's own parser takes (tests/engine holds the list of flags to it)."""

import pytest

from remuda import planner, spec
from remuda.vllm.flags import explain_misfit, flags_of, render_flag

FLAGS = flags_of("0.32.0")

TAKEN = [
    ("stream-interval", 4),
    ("stream-interval", "4"),
    ("max-num-queued-tokens", "16k"),
    ("max-num-queued-tokens", "16K"),
    ("watermark", 0.1),
    ("watermark", 1),
    ("async-scheduling", False),
    ("response-role", "assistant"),
    ("fingerprint-value", 12),
    ("hf-overrides", {"a": 1}),
    ("hf-overrides", "a.function"),
    ("default-chat-template-kwargs", {"enable_thinking": False}),
    ("default-chat-template-kwargs", '{"enable_thinking": false}'),
    ("allowed-origins", ["*"]),
    ("cudagraph-capture-sizes", [1, 2]),
    ("cudagraph-capture-sizes", 1),
    ("moe-backend", "flashinfer-trtllm"),
    ("moe-backend", "TRITON"),
    ("tool-strict-level", "auto"),
]


@pytest.mark.parametrize(("name", "value"), TAKEN, ids=str)
def test_what_vllm_takes_is_taken(name, value):
    assert explain_misfit(name, FLAGS[name], value) is None


WRONG = [
    ("stream-interval", "four", '--stream-interval takes a whole number, not "four"', "for example stream-interval: 4"),
    ("stream-interval", 4.5, "--stream-interval takes a whole number, not 4.5", "for example stream-interval: 4"),
    ("stream-interval", True, "--stream-interval takes a whole number, not true", "for example stream-interval: 4"),
    (
        "stream-interval",
        [4],
        "--stream-interval takes one value, not a list",
        "write one, for example stream-interval: 4",
    ),
    (
        "max-num-queued-tokens",
        "1.5K",
        '--max-num-queued-tokens takes a whole number, not "1.5K"',
        "for example max-num-queued-tokens: 16384 or 16k",
    ),
    ("watermark", "10%", '--watermark takes a number, not "10%"', "for example watermark: 0.5"),
    ("async-scheduling", 1, "--async-scheduling is a switch", "write async-scheduling: true or false"),
    ("headless", "yes", "--headless is a switch", "write headless: true or false"),
    ("response-role", False, "--response-role takes text, not false", 'for example response-role: "word" (in quotes)'),
    ("tokenizer", {"a": 1}, '--tokenizer takes text, not {"a": 1}', 'for example tokenizer: "word" (in quotes)'),
    (
        "default-chat-template-kwargs",
        "thinking",
        '--default-chat-template-kwargs takes a mapping or a list, not "thinking"',
        "for example default-chat-template-kwargs: {key: value}",
    ),
    ("eplb-config", True, "--eplb-config takes a mapping, not true", "for example eplb-config: {key: value}"),
    ("eplb-config", "[1]", '--eplb-config takes a mapping, not "[1]"', "for example eplb-config: {key: value}"),
    (
        "eplb-config",
        [1],
        "--eplb-config takes one value, not a list",
        "write one, for example eplb-config: {key: value}",
    ),
    (
        "cudagraph-capture-sizes",
        [1, "x"],
        '--cudagraph-capture-sizes takes a whole number, not "x"',
        "for example cudagraph-capture-sizes: 4",
    ),
    (
        "cudagraph-capture-sizes",
        [],
        "--cudagraph-capture-sizes needs at least one value",
        "write one, or remove cudagraph-capture-sizes",
    ),
    ("uvicorn-log-level", "warn", '--uvicorn-log-level does not take "warn"', "did you mean warning?"),
    ("uvicorn-log-level", "INFO", '--uvicorn-log-level does not take "INFO"', "did you mean info?"),
    ("mm-tensor-ipc", "torch-shm", '--mm-tensor-ipc does not take "torch-shm"', "did you mean torch_shm?"),
    (
        "mm-processor-cache-type",
        "disk",
        '--mm-processor-cache-type does not take "disk"',
        "there are lru, shm",
    ),
]


@pytest.mark.parametrize(("name", "value", "message", "hint"), WRONG, ids=lambda value: str(value)[:30])
def test_what_vllm_would_refuse_is_said_with_what_to_write(name, value, message, hint):
    assert explain_misfit(name, FLAGS[name], value) == (message, hint)


def test_a_wrong_value_is_shown_with_its_place_in_the_file():
    text = b"kind: Model\napiVersion: remuda.dev/v1alpha1\nmetadata: {name: m}\nspec:\n  source: demo://remuda-demo\n"
    loaded = spec.load_bytes(text + b"  engine:\n    extraArgs:\n      stream-interval: four\n", "m.yaml")
    (problem,) = planner.check_all(loaded)
    message = '--stream-interval takes a whole number, not "four"\n  hint: for example stream-interval: 4'
    assert str(problem) == f"m.yaml:8:24: spec.engine.extraArgs.stream-interval: {message}"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("response-role", "-x", ("--response-role=-x",)),
        ("allowed-media-domains", ["-x"], ("--allowed-media-domains=-x",)),
        ("fingerprint-value", -1, ("--fingerprint-value=-1",)),
        ("response-role", "a b", ("--response-role", "a b")),
        ("allowed-media-domains", ["a", "b"], ("--allowed-media-domains", "a", "b")),
    ],
    ids=str,
)
def test_a_value_that_begins_with_a_dash_is_no_flag_of_its_own(name, value, words):
    assert render_flag(name, FLAGS[name], value) == words
