"""Sizes that do not fit each other or the device are named, with the field and what to write."""

import pytest
from tests.unit.planner.models import CPU, engine, model, on

from remuda import planner
from remuda.planner.sizes import explain_waste

CASES = [
    pytest.param(
        CPU | engine(blockSize=16),
        "warning: spec.engine.blockSize: blockSize 16 becomes 32 on a CPU, where vLLM takes multiples of 32",
        "write 32 to avoid this warning, or leave it out for 128",
        id="block 16 on CPU",
    ),
    pytest.param(
        on("L4") | engine(blockSize=24),
        "spec.engine.blockSize: blockSize 24 is not a multiple of 16",
        "write 32; 16 is the default",
        id="block 24 on GPU",
    ),
    pytest.param(
        engine(blockSize=64, maxModelLen=32),
        (
            "warning: spec.engine.blockSize: blockSize 64 is larger than maxModelLen 32: a sequence of 32 tokens "
            "takes 1 block of 64; 32 of 64 tokens (50%) stay unused"
        ),
        "16 or 32 wastes less",
        id="block larger than sequence",
    ),
    pytest.param(
        engine(blockSize=256),
        (
            "warning: spec.engine.blockSize: blockSize 256 is large: half a block (128 tokens) of each sequence "
            "stays unused on average"
        ),
        "16 to 32 for short prompts, up to 128 for long",
        id="large block",
    ),
    pytest.param(
        CPU | engine(kvOffload="8Gi"),
        "spec.engine.kvOffload: kvOffload needs a GPU and is not used on a CPU",
        "remove kvOffload",
        id="kvOffload on CPU",
    ),
    pytest.param(
        CPU | engine(cpuOffload="8Gi"),
        "spec.engine.cpuOffload: cpuOffload needs a GPU and is not used on a CPU",
        "remove cpuOffload",
        id="cpuOffload",
    ),
    pytest.param(
        CPU | engine(gpuMemoryUtilization=0.9),
        "warning: spec.engine.gpuMemoryUtilization: gpuMemoryUtilization has no effect on a CPU",
        "set kvCacheMemory instead",
        id="GPU share on CPU",
    ),
    pytest.param(
        {"hardware": {"gpu": "none", "memory": "1Gi"}} | engine(kvCacheMemory="2Gi"),
        "spec.engine.kvCacheMemory: kvCacheMemory 2Gi leaves nothing of memory 1Gi",
        "weights and the engine itself need memory too",
        id="cache larger than memory",
    ),
    pytest.param(
        CPU | engine(kvCacheBlocks=4, maxModelLen=1024),
        "spec.engine.kvCacheBlocks: 4 blocks of 128 tokens hold 512, less than one request of maxModelLen 1024",
        "at least 8 blocks, or a shorter maxModelLen",
        id="too few blocks",
    ),
    pytest.param(
        {"hardware": {"memory": "1Gi", "shm": "2Gi"}},
        "spec.hardware.shm: shm 2Gi is larger than memory 1Gi",
        "shared memory is part of the memory",
        id="shm",
    ),
    pytest.param(
        engine(maxNumBatchedTokens=128),
        "spec.engine.maxNumBatchedTokens: maxNumBatchedTokens 128 is less than maxNumSeqs 256",
        "each running sequence takes one token of a step",
        id="batch smaller than sequences",
    ),
    pytest.param(
        engine(chunkedPrefill=False, maxNumBatchedTokens=1024, maxModelLen=2048),
        (
            "spec.engine.maxNumBatchedTokens: maxNumBatchedTokens 1024 is less than maxModelLen 2048, and without"
            " chunkedPrefill a prompt must fit one step"
        ),
        "at least 2048, or leave chunkedPrefill on",
        id="prompt does not fit a step",
    ),
    pytest.param(
        engine(chunkedPrefill=False),
        (
            "warning: spec.engine.chunkedPrefill: vLLM does not officially support switching chunkedPrefill off; "
            "long prompts stall running answers"
        ),
        "leave it on unless you measure a gain",
        id="no chunks",
    ),
]


@pytest.mark.req("E6.refusals", level="unit")
@pytest.mark.parametrize(("fields", "said", "hint"), CASES)
def test_sizes_that_do_not_fit_are_named(fields: dict[str, object], said: str, hint: str):
    (problem,) = planner.check(model(**fields))
    assert str(problem) == f"{said}\n  hint: {hint}"


@pytest.mark.req("E1.waste", level="unit")
@pytest.mark.parametrize(
    ("block", "sequence", "text"),
    [
        (16, 100, "a sequence of 100 tokens takes 7 blocks of 16; 12 of 112 tokens (11%) stay unused"),
        (128, 20, "a sequence of 20 tokens takes 1 block of 128; 108 of 128 tokens (84%) stay unused"),
        (32, 64, "a sequence of 64 tokens takes 2 blocks of 32; 0 of 64 tokens (0%) stay unused"),
    ],
)
def test_the_waste_of_a_block_size_is_explained(block: int, sequence: int, text: str):
    assert explain_waste(block, sequence) == text
