"""Settings of optional features that need or exclude each other are named, with the field and what to write."""

import pytest
from tests.unit.planner.models import engine, model

from remuda import planner

CASES = [
    pytest.param(
        engine(speculative={"method": "eagle3"}),
        "spec.engine.speculative: method eagle3 needs a draft model",
        "add model: with its source",
        id="draft without model",
    ),
    pytest.param(
        engine(speculative={"method": "ngram", "model": "hf://o/n"}),
        "spec.engine.speculative.model: method ngram takes no model",
        "remove model, or use draft_model or eagle3",
        id="ngram with model",
    ),
    pytest.param(
        engine(speculative={"method": "mtp", "promptLookupMax": 3}),
        "spec.engine.speculative.promptLookupMax: promptLookupMax belongs to method ngram, not mtp",
        "remove promptLookupMax",
        id="lookup without ngram",
    ),
    pytest.param(
        engine(speculative={"method": "ngram", "promptLookupMin": 4, "promptLookupMax": 2}),
        "spec.engine.speculative.promptLookupMin: promptLookupMin 4 is larger than promptLookupMax 2",
        "promptLookupMin must not be larger than promptLookupMax",
        id="lookup bounds",
    ),
    pytest.param(
        engine(speculative={"method": "eagle", "model": "hf://o/n", "tensor": 2}, parallel={"tensor": 4}),
        "spec.engine.speculative.tensor: the draft model can be split over 1 or 4 GPUs, not 2",
        "1, or as many as engine.parallel.tensor",
        id="draft split",
    ),
    pytest.param(
        engine(maxAdapters=2),
        "warning: spec.engine.maxAdapters: maxAdapters has no effect without adapters",
        "add adapters, or remove maxAdapters",
        id="no adapters",
    ),
    pytest.param(
        engine(adapters=[{"name": "a", "source": "demo://remuda-demo/adapters/a"}]),
        "spec.engine.adapters[0].source: the adapter a was made for the demo model",
        "an adapter works only with its own base model",
        id="demo adapter",
    ),
    pytest.param(
        {"capabilities": ["chat", "embedding"]},
        "spec.capabilities: one engine either generates text (chat) or runs pooling tasks (embedding), not both",
        "write two Models with the same source",
        id="chat and embedding",
    ),
    pytest.param(
        {"capabilities": ["completion"]} | engine(toolParser="hermes"),
        "warning: spec.engine.toolParser: tools are part of chat, which is not among the capabilities",
        "add chat",
        id="tools without chat",
    ),
    pytest.param(
        engine(toolParser="herms"),
        "spec.engine.toolParser: vLLM 0.32.0 has no toolParser herms",
        "did you mean hermes?",
        id="tool parser",
    ),
    pytest.param(
        engine(reasoningParser="qwen"),
        "spec.engine.reasoningParser: vLLM 0.32.0 has no reasoningParser qwen",
        "did you mean qwen3?",
        id="reasoning",
    ),
    pytest.param(
        engine(extraArgs={"port": 1}),
        (
            "spec.engine.extraArgs.port: --port cannot be set: Remuda chooses the engine's address: it "
            "listens on loopback, behind the gateway"
        ),
        "remove it",
        id="owned flag",
    ),
    pytest.param(
        engine(extraArgs={"max-model-len": 1}),
        "spec.engine.extraArgs.max-model-len: --max-model-len has a field of its own",
        "use engine.maxModelLen",
        id="flag with a field",
    ),
    pytest.param(
        engine(extraArgs={"stream-intervl": 1}),
        "spec.engine.extraArgs.stream-intervl: vLLM 0.32.0 has no flag --stream-intervl",
        "did you mean stream-interval?",
        id="misspelled flag",
    ),
    pytest.param(
        engine(env=[{"name": "VLLM_PORT", "value": "1"}]),
        (
            "spec.engine.env[0]: VLLM_PORT cannot be set: Remuda chooses the engine's address: it listens on "
            "loopback, behind the gateway"
        ),
        "remove it",
        id="owned variable",
    ),
    pytest.param(
        {"source": "hf://o/n"} | engine(trustRemoteCode=True),
        (
            "warning: spec.engine.trustRemoteCode: trustRemoteCode runs code from a revision of the hub that can "
            "change at any time"
        ),
        "pin the revision: hf://o/n@<commit>",
        id="unpinned code",
    ),
]


@pytest.mark.req("E6.refusals", level="unit")
@pytest.mark.parametrize(("fields", "said", "hint"), CASES)
def test_settings_that_need_or_exclude_each_other_are_named(fields: dict[str, object], said: str, hint: str):
    (problem,) = planner.check(model(**fields))
    assert str(problem) == f"{said}\n  hint: {hint}"


@pytest.mark.parametrize(
    ("field", "plugin"), [("toolParser", "tool-parser-plugin"), ("reasoningParser", "reasoning-parser-plugin")]
)
def test_a_parser_of_a_plugin_may_have_any_name(field: str, plugin: str):
    fields = {field: "mine", "extraArgs": {plugin: "/parsers/mine.py"}}
    assert planner.check(model(**engine(**fields))) == ()
