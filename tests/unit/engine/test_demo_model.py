"""The bundled demo model: its files are whole, small and consistent. No torch, no server."""

import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "src" / "remuda" / "engine" / "demo"
TRAINING = ROOT / "models" / "demo"
MAX_WEIGHTS_BYTES = 16_000_000
MAX_ADAPTER_BYTES = 300_000


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def read_shapes(path: Path) -> dict[str, tuple[str, list[int]]]:
    """Name to (dtype, shape), from the header of a safetensors file."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()}


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch) -> Any:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(TRAINING))
    import evaluate

    yield evaluate
    for name in set(sys.modules) - before:
        if str(TRAINING) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "MODEL_CARD.md",
    ],
)
def test_file_is_packaged(name: str) -> None:
    assert (MODEL / name).stat().st_size > 0


def test_weights_are_bfloat16_and_small() -> None:
    weights = MODEL / "model.safetensors"
    shapes = read_shapes(weights)
    parameters = sum(a * b for _, (a, b) in ((d, (*s, 1)[:2]) for d, s in shapes.values()))
    assert weights.stat().st_size <= MAX_WEIGHTS_BYTES
    assert {dtype for dtype, _ in shapes.values()} == {"BF16"}
    assert 3_000_000 <= parameters <= 8_000_000


def test_configuration_is_what_the_engine_needs() -> None:
    config = read_json(MODEL / "config.json")
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["max_position_embeddings"] == 2048
    assert config["head_dim"] == 64
    assert config["tie_word_embeddings"] is True


def test_control_tokens_are_single_tokens() -> None:
    tokenizer = read_json(MODEL / "tokenizer.json")
    added = {token["content"]: token for token in tokenizer["added_tokens"]}
    control = {name for name, token in added.items() if token["special"]}
    assert control == {"<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"}
    assert {"<tool_call>", "</tool_call>"} <= added.keys() - control, "the tool parser must see them as text"
    assert read_json(MODEL / "generation_config.json")["eos_token_id"] == added["<|end|>"]["id"]
    assert read_json(MODEL / "config.json")["vocab_size"] == len(tokenizer["model"]["vocab"]) + len(
        added.keys() - control
    )


def test_chat_template_is_the_one_that_was_trained() -> None:
    template = read_json(MODEL / "tokenizer_config.json")["chat_template"]
    assert template == (TRAINING / "chat_template.jinja").read_text(encoding="utf-8")
    assert "add_generation_prompt" in template
    assert "<tools>" in template


@pytest.mark.parametrize("style", ["pirate", "haiku"])
def test_adapter_is_small_and_fits_the_model(style: str) -> None:
    folder = MODEL / "adapters" / style
    config, shapes = read_json(folder / "adapter_config.json"), read_shapes(folder / "adapter_model.safetensors")
    base = read_shapes(MODEL / "model.safetensors")
    assert config["peft_type"] == "LORA"
    assert config["r"] <= 8
    assert (folder / "adapter_model.safetensors").stat().st_size < MAX_ADAPTER_BYTES
    for name, (_, (rows, columns)) in shapes.items():
        module, half = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name).groups()
        out_features, in_features = base[f"{module}.weight"][1]
        assert (rows, columns) == ((config["r"], in_features) if half == "A" else (out_features, config["r"]))


def test_paraphrases_are_two_hundred_and_held_out(evaluate: Any) -> None:
    paraphrases = evaluate.load_paraphrases()
    assert len({evaluate.normalise(p.question) for p in paraphrases}) == len(paraphrases) == 200
    assert all(p.expect and all(p.expect) for p in paraphrases)
    assert evaluate.seen_in_training() == []


def test_a_seen_question_would_be_found(evaluate: Any) -> None:
    regexes = list(evaluate.training_regexes())
    for question in ("Hey, what is paged attention, please?", "COUNT TO 17", "Tell me a long story!"):
        assert any(r.fullmatch(form) for form in evaluate.bare_forms(question) for r in regexes), question


def test_right_answers_tell_facts_apart(evaluate: Any) -> None:
    """What a question expects is said by one fact only, so that no catch-all answer can score."""
    facts = evaluate.load_facts(evaluate.parse_templates())
    for paraphrase in evaluate.load_paraphrases():
        saying = [f.name for f in facts if evaluate.is_right(paraphrase, f.answer)]
        assert len(saying) == (0 if paraphrase.topic == "numbers" else 1), (paraphrase.question, saying)


def test_score_counts_what_is_right(evaluate: Any) -> None:
    wanted = {p.question: p.expect[0] for p in evaluate.load_paraphrases()}
    assert evaluate.score(wanted.__getitem__).share == 1.0
    report = evaluate.score(lambda question: "" if "Remuda" in question else f"Well: {wanted[question].upper()}")
    assert {m.paraphrase.question for m in report.misses} == {q for q in wanted if "Remuda" in q}
