"""Combinations that make no sense are named before anything is rented, with the field and what to write."""

import pytest

from remuda import planner, spec
from remuda.vllm.dialect import DIALECTS

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "max_position_embeddings": 8192,
}
MIXTRAL = LLAMA_8B | {"num_local_experts": 8}


def model(**fields: object) -> spec.Model:
    source = {} if "endpoints" in fields else {"source": "hf://org/name@v1"}
    return spec.Model.model_validate({"metadata": {"name": "m"}, "spec": source | fields}, by_alias=True)


def found(problems: tuple[spec.Problem, ...]) -> list[tuple[str, str, str]]:
    return [(problem.severity, problem.where, problem.message) for problem in problems]


def engine(**fields: object) -> dict[str, object]:
    return {"engine": fields}


CPU = {"hardware": {"gpu": "none"}}


def on(gpu: str, **fields: object) -> dict[str, object]:
    return {"hardware": {"gpu": gpu, **fields}}


CASES = [
    pytest.param(
        on("T4") | engine(dtype="bfloat16"),
        "error",
        "engine.dtype",
        "the T4 cannot compute in bfloat16",
        id="bfloat16 on T4",
    ),
    pytest.param(
        on("T4") | engine(kvCacheDtype="fp8"),
        "error",
        "engine.kvCacheDtype",
        "the T4 has no FP8 units: kvCacheDtype fp8 cannot be used on it",
        id="fp8 KV on T4",
    ),
    pytest.param(
        on("A100-80GB") | engine(kvCacheDtype="fp8"),
        "warning",
        "engine.kvCacheDtype",
        "the A100-80GB has no FP8 units: kvCacheDtype fp8 works with some attention kernels only (FlashInfer)",
        id="fp8 KV on A100",
    ),
    pytest.param(
        on("A100-80GB") | engine(quantization="fp8"),
        "warning",
        "engine.quantization",
        "the A100-80GB has no FP8 units: weights take half the memory, but nothing becomes faster",
        id="fp8 on A100",
    ),
    pytest.param(
        on("A10G") | engine(quantization="fp8_per_block"),
        "error",
        "engine.quantization",
        "the A10G has no FP8 units, which fp8_per_block needs",
        id="fp8 blocks on A10G",
    ),
    pytest.param(
        on("T4") | engine(quantization="mxfp4"),
        "error",
        "engine.quantization",
        "quantization mxfp4 needs compute capability 8.0; the T4 has 7.5",
        id="mxfp4 on T4",
    ),
    pytest.param(
        CPU | engine(quantization="fp8"),
        "error",
        "engine.quantization",
        "quantization fp8 does not run on a CPU: vLLM has no kernel for it",
        id="fp8 on CPU",
    ),
    pytest.param(
        CPU | engine(quantization="modelopt"),
        "warning",
        "engine.quantization",
        "quantization modelopt is not known to run on a CPU",
        id="modelopt on CPU",
    ),
    pytest.param(
        CPU | engine(blockSize=16),
        "warning",
        "engine.blockSize",
        "blockSize 16 becomes 32 on a CPU, where vLLM takes multiples of 32",
        id="block 16 on CPU",
    ),
    pytest.param(
        on("L4") | engine(blockSize=24),
        "error",
        "engine.blockSize",
        "blockSize 24 is not a multiple of 16",
        id="block 24 on GPU",
    ),
    pytest.param(
        engine(blockSize=64, maxModelLen=32),
        "warning",
        "engine.blockSize",
        "blockSize 64 is larger than maxModelLen 32",
        id="block larger than sequence",
    ),
    pytest.param(
        engine(blockSize=256),
        "warning",
        "engine.blockSize",
        "blockSize 256 is large: half a block (128 tokens) of each sequence stays unused on average",
        id="large block",
    ),
    pytest.param(
        CPU | engine(kvOffload="8Gi"),
        "error",
        "engine.kvOffload",
        "kvOffload needs a GPU and is not used on a CPU",
        id="kvOffload on CPU",
    ),
    pytest.param(
        CPU | engine(cpuOffload="8Gi"),
        "error",
        "engine.cpuOffload",
        "cpuOffload needs a GPU and is not used on a CPU",
        id="cpuOffload",
    ),
    pytest.param(
        CPU | engine(gpuMemoryUtilization=0.9),
        "warning",
        "engine.gpuMemoryUtilization",
        "gpuMemoryUtilization means nothing on a CPU and is not used",
        id="GPU share on CPU",
    ),
    pytest.param(
        {"hardware": {"gpu": "none", "memory": "1Gi"}} | engine(kvCacheMemory="2Gi"),
        "error",
        "engine.kvCacheMemory",
        "kvCacheMemory 2Gi leaves nothing of memory 1Gi",
        id="cache larger than memory",
    ),
    pytest.param(
        CPU | engine(kvCacheBlocks=4, maxModelLen=1024),
        "error",
        "engine.kvCacheBlocks",
        "4 blocks of 128 tokens hold 512, less than one request of maxModelLen 1024",
        id="too few blocks",
    ),
    pytest.param(
        {"hardware": {"memory": "1Gi", "shm": "2Gi"}},
        "error",
        "hardware.shm",
        "shm 2Gi is larger than memory 1Gi",
        id="shm",
    ),
    pytest.param(
        engine(maxNumBatchedTokens=128),
        "error",
        "engine.maxNumBatchedTokens",
        "maxNumBatchedTokens 128 is less than maxNumSeqs 256",
        id="batch smaller than sequences",
    ),
    pytest.param(
        engine(chunkedPrefill=False, maxNumBatchedTokens=1024, maxModelLen=2048),
        "error",
        "engine.maxNumBatchedTokens",
        "maxNumBatchedTokens 1024 is less than maxModelLen 2048, and without chunkedPrefill a prompt must fit one step",
        id="prompt does not fit a step",
    ),
    pytest.param(
        engine(chunkedPrefill=False),
        "warning",
        "engine.chunkedPrefill",
        "vLLM does not officially support switching chunkedPrefill off; long prompts stall running answers",
        id="no chunks",
    ),
    pytest.param(
        on("H100", gpuCount=2) | engine(parallel={"tensor": 4}),
        "error",
        "hardware.gpuCount",
        "one engine needs 4 GPUs (tensor 4 x pipeline 1 x data 1 = 4), but hardware.gpuCount is 2",
        id="too few GPUs",
    ),
    pytest.param(
        on("H100", gpuCount=4),
        "warning",
        "hardware.gpuCount",
        "one engine uses 1 of the 4 GPUs it is given (tensor 1 x pipeline 1 x data 1 = 1)",
        id="idle GPUs",
    ),
    pytest.param(
        engine(parallel={"tensor": 3, "nodes": 2}),
        "error",
        "engine.parallel.nodes",
        "3 GPUs cannot be spread evenly over 2 nodes (tensor 3 x pipeline 1 x data 1 = 3)",
        id="uneven nodes",
    ),
    pytest.param(
        engine(parallel={"tensor": 16}),
        "warning",
        "engine.parallel",
        "16 GPUs (tensor 16 x pipeline 1 x data 1 = 16) do not fit one machine",
        id="one machine",
    ),
    pytest.param(
        engine(parallel={"pipeline": 2, "layerPartition": [1, 2, 3]}),
        "error",
        "engine.parallel.layerPartition",
        "layerPartition has 3 numbers, but pipeline is 2",
        id="partition",
    ),
    pytest.param(
        engine(parallel={"expert": True}),
        "warning",
        "engine.parallel.expert",
        "expert has no effect on one GPU",
        id="expert alone",
    ),
    pytest.param(
        on("L4") | engine(parallel={"tensor": 4}),
        "warning",
        "engine.parallel.tensor",
        "tensor 4 over L4: these GPUs have no fast link (NVLink), so each layer waits for PCIe",
        id="no NVLink",
    ),
    pytest.param(
        CPU | engine(parallel={"pipeline": 2}, cudaGraphs=False),
        "error",
        "engine.cudaGraphs",
        "pipeline stages on a CPU fail at the first request without compilation (cudaGraphs: false)",
        id="eager pipeline on CPU",
    ),
    pytest.param(
        engine(speculative={"method": "eagle3"}),
        "error",
        "engine.speculative",
        "method eagle3 needs a model that guesses",
        id="draft without model",
    ),
    pytest.param(
        engine(speculative={"method": "ngram", "model": "hf://o/n"}),
        "error",
        "engine.speculative.model",
        "method ngram takes no model",
        id="ngram with model",
    ),
    pytest.param(
        engine(speculative={"method": "mtp", "promptLookupMax": 3}),
        "error",
        "engine.speculative.promptLookupMax",
        "promptLookupMax belongs to method ngram, not mtp",
        id="lookup without ngram",
    ),
    pytest.param(
        engine(speculative={"method": "ngram", "promptLookupMin": 4, "promptLookupMax": 2}),
        "error",
        "engine.speculative.promptLookupMin",
        "promptLookupMin 4 is larger than promptLookupMax 2",
        id="lookup bounds",
    ),
    pytest.param(
        engine(speculative={"method": "eagle", "model": "hf://o/n", "tensor": 2}, parallel={"tensor": 4}),
        "error",
        "engine.speculative.tensor",
        "the guessing model can be split over 1 or 4 GPUs, not 2",
        id="draft split",
    ),
    pytest.param(
        engine(maxAdapters=2),
        "warning",
        "engine.maxAdapters",
        "maxAdapters has no effect without adapters",
        id="no adapters",
    ),
    pytest.param(
        engine(adapters=[{"name": "a", "source": "demo://remuda-demo/adapters/a"}]),
        "error",
        "engine.adapters.0.source",
        "the adapter a was made for the demo model",
        id="demo adapter",
    ),
    pytest.param(
        {"capabilities": ["chat", "embedding"]},
        "error",
        "capabilities",
        "one engine either generates (chat) or judges text (embedding)",
        id="chat and embedding",
    ),
    pytest.param(
        {"capabilities": ["completion"]} | engine(toolParser="hermes"),
        "warning",
        "engine.toolParser",
        "tools are part of chat, which is not among the capabilities",
        id="tools without chat",
    ),
    pytest.param(
        engine(toolParser="herms"),
        "error",
        "engine.toolParser",
        "vLLM 0.32.0 has no toolParser herms",
        id="tool parser",
    ),
    pytest.param(
        engine(reasoningParser="qwen"),
        "error",
        "engine.reasoningParser",
        "vLLM 0.32.0 has no reasoningParser qwen",
        id="reasoning",
    ),
    pytest.param(engine(extraArgs={"port": 1}), "error", "engine.extraArgs.port", None, id="owned flag"),
    pytest.param(
        engine(extraArgs={"max-model-len": 1}), "error", "engine.extraArgs.max-model-len", None, id="flag with a field"
    ),
    pytest.param(
        engine(extraArgs={"stream-intervl": 1}), "error", "engine.extraArgs.stream-intervl", None, id="misspelled flag"
    ),
    pytest.param(engine(env=[{"name": "VLLM_PORT", "value": "1"}]), "error", "engine.env.0", None, id="owned variable"),
    pytest.param(
        {"source": "hf://o/n"} | engine(trustRemoteCode=True),
        "warning",
        "engine.trustRemoteCode",
        "trustRemoteCode runs whatever code the hub holds tomorrow",
        id="unpinned code",
    ),
    pytest.param(engine(version="0.31.0"), "error", "engine.version", "Remuda does not know vLLM 0.31.0", id="version"),
    pytest.param(
        on("A100"),
        "warning",
        "hardware.gpu",
        "the GPU A100 is not in the table, so nothing was checked against it",
        id="unknown GPU",
    ),
    pytest.param(
        on("L4", gpuMemory="40Gi"),
        "error",
        "hardware.gpuMemory",
        "gpuMemory 40Gi is more than the L4 has (24 GB, 22.5 GiB)",
        id="memory",
    ),
    pytest.param({"replicas": 0}, "warning", "replicas", "with replicas: 0 nothing answers", id="no replicas"),
    pytest.param(
        {"traffic": {"of": "m", "weight": 1}},
        "error",
        "traffic.of",
        "a model cannot take a share of its own requests",
        id="own traffic",
    ),
]


@pytest.mark.req("E6", level="validated")
@pytest.mark.parametrize(("fields", "severity", "path", "message"), CASES)
def test_nonsense_is_named(fields: dict[str, object], severity: str, path: str, message: str | None):
    (problem,) = planner.check(model(**fields))
    steps = tuple(int(step) if step.isdigit() else step for step in path.split("."))
    assert (problem.severity, problem.path) == (severity, ("spec", *steps))
    assert message in {None, problem.message}
    assert problem.hint


SENSIBLE = [
    pytest.param({}, id="nothing said"),
    pytest.param(CPU | engine(quantization="awq", blockSize=32, kvCacheDtype="fp8"), id="AWQ and fp8 cache on CPU"),
    pytest.param(CPU | engine(parallel={"tensor": 2, "pipeline": 2}), id="ranks on CPU"),
    pytest.param(
        on("H100", gpuCount=8, gpuMemory="80Gi") | engine(quantization="fp8", parallel={"tensor": 8}), id="H100 FP8"
    ),
    pytest.param(on("L4") | engine(kvCacheDtype="fp8", blockSize=16, dtype="bfloat16"), id="L4"),
    pytest.param(engine(parallel={"tensor": 8, "pipeline": 2, "nodes": 2}), id="two machines"),
    pytest.param(engine(speculative={"method": "ngram", "promptLookupMax": 3}), id="ngram"),
    pytest.param(engine(extraArgs={"stream-interval": 4, "enable-request-id-headers": True}), id="free flags"),
    pytest.param({"endpoints": [{"url": "http://a:1"}]}, id="running engines"),
]


@pytest.mark.parametrize("fields", SENSIBLE)
@pytest.mark.parametrize("variant", [None, "cpu", "cuda"])
def test_sense_is_left_alone(fields: dict[str, object], variant: planner.Variant | None):
    portable = fields.get("hardware") or "engine" not in fields
    assert planner.check(model(**fields), variant if portable else None) == ()


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
        "expert needs a mixture-of-experts model; config.json names no experts",
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
def test_split_is_checked_against_config_json(
    parallel: dict[str, object], config: dict[str, object], path: str, message: str
):
    problems = [
        problem
        for problem in planner.check(model(**engine(parallel=parallel)), config=config)
        if problem.severity == "error"
    ]
    assert [(problem.where, problem.message) for problem in problems] == [(f"spec.{path}", message)]


def test_possible_splits_are_listed():
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
def test_experts_of_a_mixture_are_taken(config: dict[str, object]):
    assert planner.check(model(**engine(parallel={"tensor": 2, "data": 2, "expert": True})), config=config) == ()


def test_no_experts_are_no_mixture():
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
            "maxModelLen 9000 is more than the 8192 tokens the model was made for",
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
def test_file_is_checked_against_config_json(fields: dict[str, object], config: dict[str, object], message: str):
    assert [problem.message for problem in planner.check(model(**fields), config=config)] == [message]


@pytest.mark.parametrize(
    ("asked", "method"), [("moe_wna16", "gptq"), ("moe_wna16", "awq"), ("inc", "auto-round"), ("gptq", "gptq_marlin")]
)
def test_a_method_that_computes_with_weights_of_another_name_fits_them(asked: str, method: str):
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
def test_only_scaled_positions_take_more_than_the_model_was_made_for(rope: dict[str, object], is_stretched: bool):
    problems = planner.check(model(**engine(maxModelLen=9000)), config=LLAMA_8B | rope)
    assert [problem.where for problem in problems] == ([] if is_stretched else ["spec.engine.maxModelLen"])


@pytest.mark.parametrize(
    ("field", "plugin"), [("toolParser", "tool-parser-plugin"), ("reasoningParser", "reasoning-parser-plugin")]
)
def test_a_parser_of_a_plugin_may_have_any_name(field: str, plugin: str):
    fields = {field: "mine", "extraArgs": {plugin: "/parsers/mine.py"}}
    assert planner.check(model(**engine(**fields))) == ()


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
def test_config_json_is_what_its_overrides_make_of_it(overrides: object, is_longer: bool):
    """vLLM's own way to a longer context."""
    written = model(**engine(maxModelLen=9000, extraArgs={"hf-overrides": overrides}))
    problems = planner.check(written, config=LLAMA_8B)
    assert [problem.where for problem in problems] == ([] if is_longer else ["spec.engine.maxModelLen"])


def test_a_context_that_vllm_was_told_to_allow_is_allowed():
    allowed = [{"name": "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "value": "1"}]
    assert planner.check(model(**engine(maxModelLen=9000, env=allowed)), config=LLAMA_8B) == ()


@pytest.mark.parametrize(
    "config",
    [{}, {"num_attention_heads": "8"}, {"architectures": None}, {"quantization_config": 3}, {"text_config": []}],
)
def test_odd_config_json_is_no_problem(config: dict[str, object]):
    assert planner.check(model(**engine(parallel={"tensor": 2})), config=config) == ()


def test_a_portable_file_is_only_warned_on_a_cpu():
    assert found(planner.check(model(**engine(kvOffload="8Gi")), "cpu")) == [
        ("warning", "spec.engine.kvOffload", "kvOffload needs a GPU and is not used on a CPU")
    ]
    assert planner.check(model(**engine(kvOffload="8Gi")), "cuda") == ()


def test_default_engine_version_is_known():
    assert spec.DEFAULT_ENGINE_VERSION in DIALECTS


@pytest.mark.req("E1", level="rendered")
@pytest.mark.parametrize(
    ("block", "sequence", "text"),
    [
        (16, 100, "a sequence of 100 tokens takes 7 blocks of 16; 12 of 112 tokens (11%) stay unused"),
        (128, 20, "a sequence of 20 tokens takes 1 block of 128; 108 of 128 tokens (84%) stay unused"),
        (32, 64, "a sequence of 64 tokens takes 2 blocks of 32; 0 of 64 tokens (0%) stay unused"),
    ],
)
def test_block_size_is_explained_by_its_waste(block: int, sequence: int, text: str):
    assert planner.explain_block_size(block, sequence) == text
