"""What a file says in vain on one machine: fields that only a cluster can carry out.

A file may move between a laptop and a cluster, so such a field is no mistake; but nothing its author wrote is dropped
silently. Called by: `checks`, when the files are for one machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Final

from pydantic.alias_generators import to_camel

from remuda import spec
from remuda.planner.situation import Variant, error, warning
from remuda.spec import Problem

IN_VAIN: Final = (
    "hardware.gpu_memory",
    "hardware.memory",
    "hardware.shm",
    "engine.image",
    "weights",
    "rollout",
    "traffic",
)
"""Fields, as attributes, that change nothing here. Memory and GPU memory are still checked against other fields."""


def check_one_machine(model: spec.Model, variant: Variant | None) -> Iterator[Problem]:
    """One warning for each field that has no effect here. `variant` None: nobody said that it is to run here now."""
    for place in IN_VAIN:
        *above, field = place.split(".")
        if reduce(getattr, above, model.spec).has(field):
            yield warning(".".join((*above, to_camel(field))), "has no effect on one machine, only on Kubernetes")
    yield from _check_scaling(model)
    if (nodes := model.spec.engine.parallel.nodes) > 1:
        report = warning if variant is None else error
        message = f"an engine over {nodes} machines cannot run on one"
        yield report("engine.parallel.nodes", message, "leave nodes out here; several machines need a cluster")


def _check_scaling(model: spec.Model) -> Iterator[Problem]:
    scaling = model.spec.scaling
    if scaling is None:
        return
    if scaling.min == 0:
        message = "with min: 0 no engine is started on one machine, and nothing answers"
        yield warning("scaling.min", message, "set 1; on Kubernetes, the first request starts an engine")
    else:
        engines = "1 engine is" if scaling.min == 1 else f"{scaling.min} engines are"
        message = f"has no effect on one machine beyond min: {engines} started, whatever the load"
        yield warning("scaling", message)
