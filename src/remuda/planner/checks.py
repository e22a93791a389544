"""All checks in one list, for one model or for everything that was loaded.

Does: run every check, sort nothing away, and give each problem its position in the file.
Does not know: what the single checks look at.
Called by: `remuda validate`, `remuda up`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from remuda import catalog, spec
from remuda.errors import RemudaError
from remuda.planner.blocks import check_blocks, check_length, check_memory, check_steps
from remuda.planner.companions import (
    check_adapters,
    check_capabilities,
    check_free_flags,
    check_parsers,
    check_speculative,
    check_trust,
)
from remuda.planner.formats import check_formats
from remuda.planner.one_machine import check_one_machine
from remuda.planner.situation import Config, Situation, Variant, describe_situation, error, warning
from remuda.planner.splitting import check_splitting
from remuda.planner.together import check_gateways, check_models, check_tenants
from remuda.spec import Problem
from remuda.vllm.dialect import DIALECTS


class PlanError(RemudaError):
    """The file is well formed, but cannot run as written."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(str(problem) for problem in self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} found\n{lines}")


def _check_version(situation: Situation) -> Iterator[Problem]:
    version = situation.engine.version
    if version not in DIALECTS:
        yield error("engine.version", f"Remuda does not know vLLM {version}", f"known: {', '.join(DIALECTS)}")


def _check_gpu(situation: Situation) -> Iterator[Problem]:
    hardware = situation.model.spec.hardware
    if situation.variant != "cuda" or hardware.gpu == "auto":
        return
    if situation.gpu is None:
        near = catalog.suggest_gpus(hardware.gpu)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "known: " + ", ".join(g.name for g in catalog.list_gpus())
        )
        message = f"the GPU {hardware.gpu} is not in the table, so nothing was checked against it"
        yield warning("hardware.gpu", message, hint)
    elif hardware.gpu_memory and hardware.gpu_memory > situation.gpu.memory_gb * 2**30:  # vendors' GB are near GiB
        gpu = f"the {situation.gpu.name} has ({situation.gpu.memory_gb} GB, {situation.gpu.memory_mib / 1024:.1f} GiB)"
        message = f"gpuMemory {hardware.gpu_memory.text} is more than {gpu}"
        yield error("hardware.gpuMemory", message, "name a larger GPU, or leave gpuMemory out")


def _check_numbers(situation: Situation) -> Iterator[Problem]:
    model = situation.model.spec
    if model.replicas == 0:
        hint = "set 1; on Kubernetes, scaling with min: 0 starts an engine on demand"
        yield warning("replicas", "with replicas: 0 nothing answers", hint)
    if model.traffic is not None and model.traffic.of == situation.model.name:
        yield error("traffic.of", "a model cannot take a share of its own requests", "name another model")


CHECKS: Final[tuple[Callable[[Situation], Iterator[Problem]], ...]] = (
    _check_version,
    _check_gpu,
    check_formats,
    check_blocks,
    check_memory,
    check_steps,
    check_length,
    check_splitting,
    check_speculative,
    check_adapters,
    check_capabilities,
    check_parsers,
    check_free_flags,
    check_trust,
    _check_numbers,
)


def check(model: spec.Model, variant: Variant | None = None, config: Config | None = None) -> tuple[Problem, ...]:
    """Everything about one model that does not make sense.

    `variant` is what this machine has ("cpu" or "cuda"), used where the file says `gpu: auto`; None checks only what
    is wrong everywhere. `config` is the model's config.json as a mapping, when it is at hand."""
    situation = describe_situation(model, variant, config)
    if model.spec.endpoints:
        return tuple(_check_numbers(situation))
    if situation.engine.version not in DIALECTS:
        return tuple(_check_version(situation))
    return tuple(problem for run in CHECKS for problem in run(situation))


def check_all(
    loaded: spec.Loaded,
    variant: Variant | None = None,
    configs: Mapping[str, Config] | None = None,
    *,
    one_machine: bool = False,
) -> tuple[Problem, ...]:
    """Everything in what was loaded that does not make sense, with positions, in their order. `configs`: config.json
    by model name. `one_machine`: it is for one machine, so say which fields only a cluster can carry out."""
    found: list[Problem] = []
    for model in loaded.models:
        problems = check(model, variant, (configs or {}).get(model.name))
        if one_machine:
            problems += tuple(check_one_machine(model, variant))
        found += place_problems(loaded, model, problems)
    for written, problem in (*check_models(loaded), *check_gateways(loaded), *check_tenants(loaded)):
        found += place_problems(loaded, written, (problem,))
    return tuple(sorted(found, key=lambda problem: problem.place or spec.Place("", 0, 0)))


def place_problems(
    loaded: spec.Loaded, written: spec.Model | spec.ModelGateway | spec.Tenant, problems: Iterable[Problem]
) -> tuple[Problem, ...]:
    """The same problems, each with file, line and column."""
    return tuple(replace(problem, place=loaded.place(written, problem.path)) for problem in problems)
