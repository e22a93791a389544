"""Counts that do not divide each other are named, with the field and what to write."""

import pytest
from tests.unit.planner.models import CPU, engine, model, on

from remuda import planner

CASES = [
    pytest.param(
        on("H100", gpuCount=2) | engine(parallel={"tensor": 4}),
        (
            "spec.hardware.gpuCount: one engine needs 4 GPUs (tensor 4 x pipeline 1 x data 1 = 4), but "
            "hardware.gpuCount is 2"
        ),
        "set gpuCount to 4, or split less",
        id="too few GPUs",
    ),
    pytest.param(
        on("H100", gpuCount=4),
        (
            "warning: spec.hardware.gpuCount: one engine uses 1 of the 4 GPUs it is given (tensor 1 x pipeline 1 "
            "x data 1 = 1)"
        ),
        "set engine.parallel.tensor to 4, or gpuCount to 1",
        id="idle GPUs",
    ),
    pytest.param(
        engine(parallel={"tensor": 3, "nodes": 2}),
        "spec.engine.parallel.nodes: 3 GPUs cannot be spread evenly over 2 nodes (tensor 3 x pipeline 1 x data 1 = 3)",
        "nodes must divide tensor x pipeline x data",
        id="uneven nodes",
    ),
    pytest.param(
        engine(parallel={"tensor": 16}),
        "warning: spec.engine.parallel: 16 GPUs (tensor 16 x pipeline 1 x data 1 = 16) do not fit one machine",
        "set nodes to 2",
        id="one machine",
    ),
    pytest.param(
        engine(parallel={"pipeline": 2, "layerPartition": [1, 2, 3]}),
        "spec.engine.parallel.layerPartition: layerPartition has 3 numbers, but pipeline is 2",
        "one number for each pipeline stage",
        id="partition",
    ),
    pytest.param(
        engine(parallel={"expert": True}),
        "warning: spec.engine.parallel.expert: expert has no effect on one GPU",
        "set tensor or data, or remove expert",
        id="expert alone",
    ),
    pytest.param(
        on("L4") | engine(parallel={"tensor": 4}),
        (
            "warning: spec.engine.parallel.tensor: tensor 4 over L4: these GPUs have no fast link (NVLink), so "
            "each layer waits for PCIe"
        ),
        "use pipeline, which exchanges less data, or GPUs with NVLink",
        id="no NVLink",
    ),
    pytest.param(
        CPU | engine(parallel={"pipeline": 2}, cudaGraphs=False),
        (
            "spec.engine.cudaGraphs: pipeline stages on a CPU fail at the first request without compilation "
            "(cudaGraphs: false)"
        ),
        "leave cudaGraphs out, or set it to true",
        id="eager pipeline on CPU",
    ),
]


@pytest.mark.req("E6.refusals", level="unit")
@pytest.mark.parametrize(("fields", "said", "hint"), CASES)
def test_counts_that_do_not_divide_are_named(fields: dict[str, object], said: str, hint: str):
    (problem,) = planner.check(model(**fields))
    assert str(problem) == f"{said}\n  hint: {hint}"
