"""Warns about fields that only Kubernetes honours, when a file is used on one machine.

A file may move between a laptop and a cluster, so such a field is no error. Its author is told that it has no effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Final

from pydantic.alias_generators import to_camel

from remuda import spec
from remuda.planner.facts import Variant, error, warning
from remuda.spec import Problem

ONLY_ON_KUBERNETES: Final = (
    "hardware.gpu_memory",
    "hardware.memory",
    "hardware.shm",
    "engine.image",
    "weights",
    "rollout",
)
"""Fields without effect on one machine, by attribute name. `memory` and `gpuMemory` are still compared with other
fields."""


def check_kubernetes_only(model: spec.Model, variant: Variant | None) -> Iterator[Problem]:
    """Warn once for each field that has no effect on one machine.

    With a `variant`, the model is about to run on this machine, so several nodes are an error.
    """
    for place in ONLY_ON_KUBERNETES:
        *above, field = place.split(".")
        if reduce(getattr, above, model.spec).has(field):
            yield warning(".".join((*above, to_camel(field))), "has no effect on one machine, only on Kubernetes")
    yield from _check_scaling(model)
    if (nodes := model.spec.engine.parallel.nodes) > 1:
        report = warning if variant is None else error
        message = f"an engine over {nodes} machines cannot run on one"
        yield report("engine.parallel.nodes", message, "leave nodes out here; several machines need a cluster")


def _check_scaling(model: spec.Model) -> Iterator[Problem]:
    started = model.spec.start_replicas
    if model.spec.scaling is None:
        return
    if started == 0 and model.spec.replicas is None:
        message = "with min: 0 no engine is started on one machine, and nothing answers"
        yield warning("scaling.min", message, "set 1; on Kubernetes, the first request starts an engine")
    else:
        engines = "1 engine is" if started == 1 else f"{started} engines are"
        yield warning("scaling", f"has no effect on one machine: {engines} started, whatever the load")
