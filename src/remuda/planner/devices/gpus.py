"""Partitions the GPUs of a machine: no GPU belongs to two engines.

An engine with several GPUs gets GPUs of one kind, those with the fastest links to each other (NVLink before PCIe, the
same switch before the same processor), and leaves fast links between the others. The result is deterministic.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from math import comb
from typing import Final

from remuda import catalog
from remuda.planner.devices.values import DeviceError, EngineDevices, EngineNeed, Gpu, Kind, Machine

MOST_COMBINATIONS: Final = 20_000
"""All sets of GPUs are compared up to this number (8 of 16 are 12,870); beyond it only promising ones."""


def assign_gpus(
    needs: Sequence[EngineNeed], machine: Machine
) -> tuple[dict[tuple[str, int], EngineDevices], tuple[str, ...]]:
    kinds = _assign_kinds(needs, machine.gpus)
    if kinds is None:
        raise _explain_shortage(needs, machine)
    chosen = _choose_gpus(needs, kinds, machine)
    notes = list(_note_products(needs, machine.gpus))
    if len(machine.gpus) > 1 and needs:
        notes.append(f"GPUs: {', '.join(f'{need.name} has {_render(chosen[need.name])}' for need in needs)}")
    assigned = {
        (need.model, need.replica): EngineDevices(gpus=tuple(gpu.selector for gpu in chosen[need.name]))
        for need in needs
    }
    return assigned, tuple(notes)


def _assign_kinds(needs: Sequence[EngineNeed], gpus: Sequence[Gpu]) -> list[Kind] | None:
    """The kind of GPU for each need, so that there are enough of each kind; None when that is impossible."""
    if sum(need.gpus for need in needs) > len(gpus):
        return None
    kinds = sorted({gpu.kind for gpu in gpus})
    allowed = [[kinds.index(kind) for kind in _list_kinds(need, gpus)] for need in needs]
    counts = [need.gpus for need in needs]

    @cache
    def search(position: int, left: tuple[int, ...]) -> tuple[int, ...] | None:
        if position == len(counts):
            return ()
        for choice in allowed[position]:
            if left[choice] >= counts[position]:
                rest = (*left[:choice], left[choice] - counts[position], *left[choice + 1 :])
                found = search(position + 1, rest)
                if found is not None:
                    return (choice, *found)
        return None

    found = search(0, tuple(sum(gpu.kind == kind for gpu in gpus) for kind in kinds))
    return None if found is None else [kinds[choice] for choice in found]


def _list_kinds(need: EngineNeed, gpus: Sequence[Gpu]) -> list[Kind]:
    """The kinds of GPU that suit a need, in the order of the machine. Several MIG instances serve no engine."""
    usable = [gpu for gpu in gpus if need.gpus == 1 or not gpu.instance]
    named = [gpu for gpu in usable if _is_product(gpu, need.product)]
    return list(dict.fromkeys(gpu.kind for gpu in named or usable))


def _is_product(gpu: Gpu, product: str) -> bool:
    if not gpu.name:
        return True
    known, wanted = catalog.find_gpu(gpu.name), catalog.find_gpu(product)
    if known is not None and wanted is not None:
        return known == wanted
    return product.casefold() in gpu.name.casefold()


def _note_products(needs: Sequence[EngineNeed], gpus: Sequence[Gpu]) -> Iterator[str]:
    for product in dict.fromkeys(need.product for need in needs if need.product):
        if not any(_is_product(gpu, product) for gpu in gpus):
            names = ", ".join(dict.fromkeys(gpu.name for gpu in gpus))
            yield f"no GPU of this machine is a {product}: its engines use {names}"


def _choose_gpus(needs: Sequence[EngineNeed], kinds: Sequence[Kind], machine: Machine) -> dict[str, tuple[Gpu, ...]]:
    """The GPUs of each engine. Large engines choose first, because the fewest sets suit them."""
    free = list(machine.gpus)
    chosen: dict[str, tuple[Gpu, ...]] = {}
    for need, kind in sorted(zip(needs, kinds, strict=True), key=lambda pair: -pair[0].gpus):
        mine = _choose_set([gpu for gpu in free if gpu.kind == kind], need.gpus, machine.links)
        chosen[need.name] = mine
        free = [gpu for gpu in free if gpu not in mine]
    return chosen


def _choose_set(free: Sequence[Gpu], count: int, links: Mapping[tuple[int, int], int]) -> tuple[Gpu, ...]:
    """The best `count` of the free GPUs, in this order of importance: the slowest link within the set is fast; its
    links are fast together; few fast links lead out of it to other free GPUs; its indices are close; they are low.
    """
    rates = [[_rate(one, other, links) for other in free] for one in free]
    totals = [sum(row) for row in rates]

    def rank(members: tuple[int, ...]) -> tuple[int, ...]:
        inside = [rates[one][other] for one, other in combinations(members, 2)]
        total = sum(inside)
        outside = sum(totals[member] for member in members) - 2 * total
        span = free[members[-1]].index - free[members[0]].index
        return (-min(inside, default=0), -total, outside, span)

    everyone = range(len(free))
    sets = combinations(everyone, count) if comb(len(free), count) <= MOST_COMBINATIONS else _promising(rates, count)
    return tuple(free[member] for member in min(sets, key=rank))  # the first of equals has the lowest indices


def _rate(one: Gpu, other: Gpu, links: Mapping[tuple[int, int], int]) -> int:
    """How fast the link between two GPUs is; a GPU has none to itself."""
    return links.get((min(one.index, other.index), max(one.index, other.index)), 0) if one is not other else 0


def _promising(rates: Sequence[Sequence[int]], count: int) -> Iterator[tuple[int, ...]]:
    """Neighbours by position, and sets that grow from one GPU along its fastest links."""
    for start in range(len(rates) - count + 1):
        yield tuple(range(start, start + count))
    for seed in range(len(rates)):
        members = [seed]
        while len(members) < count:
            rest = (gpu for gpu in range(len(rates)) if gpu not in members)
            members.append(max(rest, key=lambda gpu: (min(rates[gpu][one] for one in members), -gpu)))
        yield tuple(sorted(members))


def _explain_shortage(needs: Sequence[EngineNeed], machine: Machine) -> DeviceError:
    """Name the first engine that finds too few GPUs, and who holds the others."""
    for count in range(len(needs)):
        kinds = _assign_kinds(needs[: count + 1], machine.gpus)
        if kinds is None:
            break
    short, held = needs[count], needs[:count]
    hint = "start fewer replicas, split each over fewer GPUs (parallel.tensor), or use another machine for a model"
    wanted = "1 GPU" if short.gpus == 1 else f"{short.gpus} GPUs"
    suitable = _list_kinds(short, machine.gpus)
    if not suitable:
        message = f"{short.name} needs {wanted}, and the GPUs of this machine are partitioned (MIG)"
        return DeviceError(f"{message}: an engine can use one instance of them", hint)
    kinds = _assign_kinds(held, machine.gpus)
    assert kinds is not None
    chosen = _choose_gpus(held, kinds, machine)
    taken = [gpu for gpus in chosen.values() for gpu in gpus]
    free = max(sum(gpu.kind == kind and gpu not in taken for gpu in machine.gpus) for kind in suitable)
    message = f"{short.name} needs {wanted}, and {free} {'is' if free == 1 else 'are'} free"
    message += " of one kind" if len(suitable) > 1 else ""
    holders = ", ".join(f"{need.name} holds {_render(chosen[need.name])}" for need in held)
    return DeviceError(f"{message}: {holders}" if holders else message, hint)


def _render(gpus: Sequence[Gpu]) -> str:
    """GPUs in words: "GPUs 0-3"."""
    if any(gpu.instance for gpu in gpus):
        return ", ".join(f"the instance {gpu.instance} of GPU {gpu.index}" for gpu in gpus)
    ranges: list[list[int]] = []
    for index in sorted(gpu.index for gpu in gpus):
        if ranges and ranges[-1][-1] == index - 1:
            ranges[-1].append(index)
        else:
            ranges.append([index])
    text = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in ranges)
    return f"GPU {text}" if len(gpus) == 1 else f"GPUs {text}"
