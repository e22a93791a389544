"""Runs all checks, for one model or for all documents that were loaded together.

It gives each problem its position in the file. It does not know what the single checks compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from remuda import catalog, spec
from remuda.errors import RemudaError
from remuda.planner.facts import Config, ModelFacts, Variant, collect_facts, error, warning
from remuda.planner.features import (
    check_adapters,
    check_capabilities,
    check_free_flags,
    check_parsers,
    check_speculative,
    check_trust,
)
from remuda.planner.formats import check_formats
from remuda.planner.kubernetes_only import check_kubernetes_only
from remuda.planner.parallelism import check_parallelism
from remuda.planner.references import check_gateways, check_tenants
from remuda.planner.sizes import check_blocks, check_length, check_memory, check_steps
from remuda.spec import Problem
from remuda.vllm.dialect import DIALECTS


class PlanError(RemudaError):
    """The documents are well formed, but cannot run as written."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(str(problem) for problem in self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} found\n{lines}")


def _check_version(facts: ModelFacts) -> Iterator[Problem]:
    version = facts.engine.version
    if version not in DIALECTS:
        yield error("engine.version", f"Remuda does not know vLLM {version}", f"known: {', '.join(DIALECTS)}")


def _check_gpu(facts: ModelFacts) -> Iterator[Problem]:
    hardware = facts.model.spec.hardware
    if facts.variant != "cuda" or hardware.gpu == "auto":
        return
    if facts.gpu is None:
        near = catalog.suggest_gpus(hardware.gpu)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "known: " + ", ".join(g.name for g in catalog.list_gpus())
        )
        message = f"the GPU {hardware.gpu} is not in the table, so nothing was checked against it"
        yield warning("hardware.gpu", message, hint)
    elif hardware.gpu_memory and hardware.gpu_memory > facts.gpu.memory_gb * 2**30:  # vendors' GB are near GiB
        gpu = f"the {facts.gpu.name} has ({facts.gpu.memory_gb} GB, {facts.gpu.memory_mib / 1024:.1f} GiB)"
        message = f"gpuMemory {hardware.gpu_memory.text} is more than {gpu}"
        yield error("hardware.gpuMemory", message, "name a larger GPU, or leave gpuMemory out")


def _check_numbers(facts: ModelFacts) -> Iterator[Problem]:
    model = facts.model.spec
    scaling = model.scaling
    if model.replicas == 0:
        hint = "set 1; on Kubernetes, scaling with min: 0 starts an engine on demand"
        yield warning("replicas", "with replicas: 0 no engine is started, and nothing answers", hint)
    elif scaling is not None and model.replicas is not None and not scaling.min <= model.replicas <= scaling.max:
        message = f"replicas {model.replicas} is outside of scaling, which goes from {scaling.min} to {scaling.max}"
        yield warning("replicas", message, "replicas is the number of engines to start with")


CHECKS: Final[tuple[Callable[[ModelFacts], Iterator[Problem]], ...]] = (
    _check_version,
    _check_gpu,
    check_formats,
    check_blocks,
    check_memory,
    check_steps,
    check_length,
    check_parallelism,
    check_speculative,
    check_adapters,
    check_capabilities,
    check_parsers,
    check_free_flags,
    check_trust,
    _check_numbers,
)


def check(model: spec.Model, variant: Variant | None = None, config: Config | None = None) -> tuple[Problem, ...]:
    """Every problem of one model.

    `variant` is the device of this machine ("cpu" or "cuda"). It decides where the file says `gpu: auto`; with None,
    only problems that exist on every device are found. `config` is the model's config.json, where it is known.
    """
    facts = collect_facts(model, variant, config)
    if model.spec.endpoints:
        return tuple(_check_numbers(facts))
    if facts.engine.version not in DIALECTS:
        return tuple(_check_version(facts))
    return tuple(problem for run in CHECKS for problem in run(facts))


def check_all(
    loaded: spec.Loaded,
    variant: Variant | None = None,
    configs: Mapping[str, Config] | None = None,
    *,
    one_machine: bool = False,
) -> tuple[Problem, ...]:
    """Every problem of the loaded documents, sorted by position.

    `configs` holds config.json by model name. With `one_machine`, fields that only Kubernetes honours are reported too.
    """
    found: list[Problem] = []
    for model in loaded.models:
        problems = check(model, variant, (configs or {}).get(model.name))
        if one_machine:
            problems += tuple(check_kubernetes_only(model, variant))
        found += _place(loaded, model, problems)
    for written, problem in (*check_gateways(loaded), *check_tenants(loaded)):
        found += _place(loaded, written, (problem,))
    return tuple(sorted(found, key=lambda problem: problem.place or spec.Place("", 0, 0)))


def _place(
    loaded: spec.Loaded, written: spec.Model | spec.ModelGateway | spec.Tenant, problems: Iterable[Problem]
) -> tuple[Problem, ...]:
    """The same problems, each with its position in the files."""
    return tuple(replace(problem, place=loaded.place(written, problem.path)) for problem in problems)
