"""Gives several engines on the CPU cores of their own, as long as there are enough."""

from collections.abc import Iterator, Sequence
from typing import Final

from remuda.planner.devices.values import Core, EngineDevices, EngineNeed, Machine

SPARE_CORES: Final = 1
"""Cores left to the API processes and the gateway, where there are more cores than engines.

Measured on two cores with a small model: one thread gives 5,900 tokens/s, two threads 3,400.
"""


def assign_cores(
    needs: Sequence[EngineNeed], machine: Machine
) -> tuple[dict[tuple[str, int], EngineDevices], tuple[str, ...]]:
    """Cores of their own for several engines; one engine alone may use every core.

    Slices consist of physical cores in the order of the NUMA nodes. The first cores stay free for everything else. A
    limit of CPU time grants no core in particular, so then no engine is bound.
    """
    groups = _group_cores(machine.cores)
    granted = len(groups) if machine.core_limit is None else max(1, min(len(groups), int(machine.core_limit)))
    shares = _share_cores(needs, granted)
    is_bound = len(needs) > 1 and machine.core_limit is None and sum(shares) <= granted
    first = len(groups) - sum(shares)
    assigned = {}
    for need, share in zip(needs, shares, strict=True):
        own = groups[first : first + share] if is_bound else []
        if len(needs) == 1 and need.ranks > 1:  # its ranks must not share cores with each other
            own = groups[-min(len(groups), max(share, need.ranks)) :]
        cores = tuple(group[0] for group in own)
        assigned[need.model, need.replica] = EngineDevices(cores=cores, threads=max(1, share // need.ranks))
        first += share
    return assigned, tuple(_note_cores(needs, shares, granted))


def _note_cores(needs: Sequence[EngineNeed], shares: Sequence[int], granted: int) -> Iterator[str]:
    wanted, cores = sum(shares), f"{granted} CPU core{'s' if granted > 1 else ''}"
    if wanted > granted and len(needs) == 1:
        yield f"{needs[0].name} is to use {wanted} CPU cores, and this machine grants {granted}"
    elif wanted > granted:
        yield f"{len(needs)} engines share {cores}: each of them is slower while others work"


def _share_cores(needs: Sequence[EngineNeed], granted: int) -> list[int]:
    """Physical cores of each engine: what the file says, and equal shares of the rest; at least one."""
    fixed = sum(need.cpu or 0 for need in needs)
    flexible = [need for need in needs if need.cpu is None]
    spare = SPARE_CORES if granted > len(needs) else 0
    share = max(1, (granted - spare - fixed) // len(flexible)) if flexible else 0
    return [share if need.cpu is None else need.cpu for need in needs]


def _group_cores(cores: Sequence[Core]) -> list[list[int]]:
    """Logical CPUs by physical core, in the order of the nodes."""
    groups: dict[tuple[int, int], list[int]] = {}
    for core in sorted(cores, key=lambda core: (core.node, core.physical, core.id)):
        groups.setdefault((core.node, core.physical), []).append(core.id)
    return list(groups.values())
