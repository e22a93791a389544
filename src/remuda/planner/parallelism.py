"""Checks whether `engine.parallel` divides the model evenly and whether there are enough GPUs.

It compares counts only. It does not estimate memory or speed.
"""

from __future__ import annotations

from collections.abc import Iterator

from remuda.planner.facts import ModelFacts, error, warning
from remuda.spec import Problem

GPUS_PER_NODE = 8
"""The most GPUs that one machine of any known vendor or cloud has."""


def check_parallelism(facts: ModelFacts) -> Iterator[Problem]:
    """Check the counts of GPUs, heads, layers and experts, and the links between GPUs."""
    yield from _check_counts(facts)
    yield from _check_heads(facts)
    yield from _check_layers(facts)
    yield from _check_experts(facts)
    yield from _check_links(facts)
    if facts.variant == "cpu" and facts.engine.parallel.pipeline > 1 and facts.engine.cuda_graphs is False:
        message = "pipeline stages on a CPU fail at the first request without compilation (cudaGraphs: false)"
        yield error("engine.cudaGraphs", message, "leave cudaGraphs out, or set it to true")


def _check_counts(facts: ModelFacts) -> Iterator[Problem]:
    parallel, count = facts.engine.parallel, facts.model.spec.hardware.gpu_count
    product = f"tensor {parallel.tensor} x pipeline {parallel.pipeline} x data {parallel.data} = {parallel.gpus}"
    if parallel.gpus % parallel.nodes:
        message = f"{parallel.gpus} GPUs cannot be spread evenly over {parallel.nodes} nodes ({product})"
        yield error("engine.parallel.nodes", message, "nodes must divide tensor x pipeline x data")
    if count is not None and parallel.gpus > count:
        message = f"one engine needs {parallel.gpus} GPUs ({product}), but hardware.gpuCount is {count}"
        yield error("hardware.gpuCount", message, f"set gpuCount to {parallel.gpus}, or split less")
    elif count is not None and parallel.gpus < count:
        message = f"one engine uses {parallel.gpus} of the {count} GPUs it is given ({product})"
        yield warning(
            "hardware.gpuCount", message, f"set engine.parallel.tensor to {count}, or gpuCount to {parallel.gpus}"
        )
    if parallel.nodes == 1 and parallel.gpus > GPUS_PER_NODE:
        message = f"{parallel.gpus} GPUs ({product}) do not fit one machine"
        yield warning("engine.parallel", message, f"set nodes to {-(-parallel.gpus // GPUS_PER_NODE)}")


def _check_heads(facts: ModelFacts) -> Iterator[Problem]:
    tensor = facts.engine.parallel.tensor
    heads = facts.number("num_attention_heads", "n_head", "num_heads")
    if heads is None or heads % tensor == 0:
        return
    divisors = [str(size) for size in range(1, min(heads, 64) + 1) if heads % size == 0]
    message = f"tensor {tensor} does not divide the model's {heads} attention heads"
    yield error("engine.parallel.tensor", message, f"possible: {', '.join(divisors)}")


def _check_layers(facts: ModelFacts) -> Iterator[Problem]:
    parallel = facts.engine.parallel
    layers = facts.number("num_hidden_layers", "n_layer", "num_layers")
    if layers is not None and parallel.pipeline > layers:
        message = f"pipeline {parallel.pipeline} is more than the model's {layers} layers"
        yield error("engine.parallel.pipeline", message, f"at most {layers}")
    if not parallel.layer_partition:
        return
    stages, total = len(parallel.layer_partition), sum(parallel.layer_partition)
    if stages != parallel.pipeline:
        message = f"layerPartition has {stages} numbers, but pipeline is {parallel.pipeline}"
        yield error("engine.parallel.layerPartition", message, "one number for each pipeline stage")
    elif layers is not None and total != layers:
        message = f"layerPartition adds up to {total}, but the model has {layers} layers"
        yield error("engine.parallel.layerPartition", message, f"the numbers must add up to {layers}")


def _check_experts(facts: ModelFacts) -> Iterator[Problem]:
    parallel = facts.engine.parallel
    if parallel.expert and facts.is_moe is False:
        message = "expert needs a mixture-of-experts model, and config.json names no experts"
        yield error("engine.parallel.expert", message, "remove expert")
    elif parallel.expert and parallel.tensor * parallel.data == 1:
        yield warning(
            "engine.parallel.expert", "expert has no effect on one GPU", "set tensor or data, or remove expert"
        )
    if parallel.data > 1 and facts.is_moe is False:
        message = f"data {parallel.data} runs copies of a dense model inside one engine"
        yield warning("engine.parallel.data", message, "use replicas instead: they fail one at a time")


def _check_links(facts: ModelFacts) -> Iterator[Problem]:
    gpu, tensor = facts.gpu, facts.engine.parallel.tensor
    if gpu is not None and gpu.link == "none" and tensor > 2:
        message = (
            f"tensor {tensor} over {gpu.name}: these GPUs have no fast link (NVLink), so each layer waits for PCIe"
        )
        yield warning("engine.parallel.tensor", message, "use pipeline, which exchanges less data, or GPUs with NVLink")
