"""The checks compare a file with config.json of its model, whatever config.json looks like."""

import pytest
from tests.unit.planner.models import CPU, LLAMA_8B, engine, model

from remuda import planner

MIXTRAL = LLAMA_8B | {"num_local_experts": 8}

CONFIG_CASES = [
    pytest.param(
        {"tensor": 3},
        LLAMA_8B,
        "engine.parallel.tensor",
        "tensor 3 does not divide the model's 32 attention heads",
        id="heads",
    ),
    pytest.param(
        {"pipeline": 33},
        LLAMA_8B,
        "engine.parallel.pipeline",
        "pipeline 33 is more than the model's 32 layers",
        id="stages",
    ),
    pytest.param(
        {"pipeline": 2, "layerPartition": [10, 10]},
        LLAMA_8B,
        "engine.parallel.layerPartition",
        "layerPartition adds up to 20, but the model has 32 layers",
        id="layers",
    ),
    pytest.param(
        {"tensor": 2, "expert": True},
        LLAMA_8B,
        "engine.parallel.expert",
        "expert needs a mixture-of-experts model, and config.json names no experts",
        id="experts",
    ),
    pytest.param(
        {"tensor": 3},
        {"text_config": {"num_attention_heads": 8}},
        "engine.parallel.tensor",
        "tensor 3 does not divide the model's 8 attention heads",
        id="nested text model",
    ),
]


@pytest.mark.parametrize(("parallel", "config", "path", "message"), CONFIG_CASES)
def test_parallelism_is_checked_against_config_json(
    parallel: dict[str, object], config: dict[str, object], path: str, message: str
):
    problems = [
        problem
        for problem in planner.check(model(**engine(parallel=parallel)), config=config)
        if problem.severity == "error"
    ]
    assert [(problem.where, problem.message) for problem in problems] == [(f"spec.{path}", message)]


def test_the_hint_lists_possible_tensor_sizes():
    (problem,) = planner.check(model(**engine(parallel={"tensor": 5})), config={"num_attention_heads": 12})
    assert problem.hint == "possible: 1, 2, 3, 4, 6, 12"


@pytest.mark.parametrize(
    "config",
    [
        MIXTRAL,
        {"thinker_config": {"text_config": {"num_experts": 128}}},  # Qwen3-Omni
        {"ffn_config": {"moe_num_experts": 16}},  # DBRX
    ],
    ids=["at the top", "two levels down", "in a part of its own"],
)
def test_a_mixture_of_experts_is_recognised(config: dict[str, object]):
    assert planner.check(model(**engine(parallel={"tensor": 2, "data": 2, "expert": True})), config=config) == ()


def test_zero_experts_are_no_mixture_of_experts():
    problems = planner.check(
        model(**engine(parallel={"tensor": 2, "expert": True})), config=LLAMA_8B | {"num_experts": 0}
    )
    assert [problem.where for problem in problems] == ["spec.engine.parallel.expert"]


@pytest.mark.parametrize(
    ("fields", "config", "message"),
    [
        (
            {"engine": {"maxModelLen": 9000}},
            LLAMA_8B,
            "maxModelLen 9000 is more than the 8192 tokens that the model supports",
        ),
        (
            {"engine": {"quantization": "awq"}},
            {"quantization_config": {"quant_method": "gptq"}},
            "quantization awq does not fit the weights, which are in gptq",
        ),
        (CPU, {"quantization_config": {"quant_method": "fp8"}}, "the weights are in fp8, which does not run on a CPU"),
        ({}, {"architectures": ["BertModel"]}, "a BertModel does not generate text"),
    ],
)
def test_a_file_is_checked_against_config_json(fields: dict[str, object], config: dict[str, object], message: str):
    assert [problem.message for problem in planner.check(model(**fields), config=config)] == [message]


@pytest.mark.parametrize(
    ("asked", "method"), [("moe_wna16", "gptq"), ("moe_wna16", "awq"), ("inc", "auto-round"), ("gptq", "gptq_marlin")]
)
def test_a_method_that_reads_weights_of_another_method_fits_them(asked: str, method: str):
    config = {"quantization_config": {"quant_method": method}}
    assert planner.check(model(**engine(quantization=asked)), config=config) == ()


ROPES = [
    pytest.param({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, True, id="scaled"),
    pytest.param({"rope_scaling": {"type": "linear", "factor": 4.0}}, True, id="scaled, older file"),
    pytest.param({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, True, id="scaled, newer file"),
    pytest.param(
        {"rope_parameters": {"full_attention": {"rope_type": "linear"}, "sliding_attention": {"rope_type": "default"}}},
        True,
        id="scaled in some layers",
    ),
    pytest.param({"text_config": {"rope_scaling": {"rope_type": "yarn"}}}, True, id="scaled text model"),
    pytest.param({"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}, False, id="not scaled"),
    pytest.param({"rope_scaling": None}, False, id="none"),
    pytest.param({"rope_scaling": "yarn"}, False, id="odd"),
]


@pytest.mark.parametrize(("rope", "is_stretched"), ROPES)
def test_only_scaled_positions_allow_more_than_the_model_supports(rope: dict[str, object], is_stretched: bool):
    problems = planner.check(model(**engine(maxModelLen=9000)), config=LLAMA_8B | rope)
    assert [problem.where for problem in problems] == ([] if is_stretched else ["spec.engine.maxModelLen"])


YARN = {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}
OVERRIDES = [
    pytest.param(YARN, True, id="scaled"),
    pytest.param('{"rope_parameters": {"rope_type": "yarn"}}', True, id="scaled, as text"),
    pytest.param({"max_position_embeddings": 16384}, True, id="more positions"),
    pytest.param({"text_config": YARN}, True, id="scaled text model"),
    pytest.param("a.function", True, id="nobody knows"),
    pytest.param({"num_hidden_layers": 2}, False, id="something else"),
]


@pytest.mark.parametrize(("overrides", "is_longer"), OVERRIDES)
def test_overrides_are_applied_to_config_json(overrides: object, is_longer: bool):
    """`hf-overrides` is vLLM's way to allow a longer context."""
    written = model(**engine(maxModelLen=9000, extraArgs={"hf-overrides": overrides}))
    problems = planner.check(written, config=LLAMA_8B)
    assert [problem.where for problem in problems] == ([] if is_longer else ["spec.engine.maxModelLen"])


def test_a_context_that_vllm_is_told_to_allow_is_no_problem():
    allowed = [{"name": "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "value": "1"}]
    assert planner.check(model(**engine(maxModelLen=9000, env=allowed)), config=LLAMA_8B) == ()


@pytest.mark.parametrize(
    "config",
    [{}, {"num_attention_heads": "8"}, {"architectures": None}, {"quantization_config": 3}, {"text_config": []}],
)
def test_unexpected_values_in_config_json_are_no_problem(config: dict[str, object]):
    assert planner.check(model(**engine(parallel={"tensor": 2})), config=config) == ()
