"""The plan of devices: what each engine needs, and what it gets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from remuda import spec
from remuda.planner.devices.cores import assign_cores
from remuda.planner.devices.gpus import assign_gpus
from remuda.planner.devices.values import EngineDevices, EngineNeed, Machine


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """The devices of every engine."""

    engines: Mapping[tuple[str, int], EngineDevices] = field(default_factory=dict)
    """By model and replica."""
    notes: tuple[str, ...] = ()
    """What a user should know about the plan."""

    def of(self, model: str, replica: int) -> EngineDevices:
        """The devices of one replica."""
        return self.engines.get((model, replica), EngineDevices())


def plan_devices(models: Sequence[spec.Model], machine: Machine) -> DevicePlan:
    """The devices of every engine that `models` start; DeviceError names the engine that finds too few GPUs."""
    needs = list(_list_needs(models, has_gpu=bool(machine.gpus)))
    on_gpus = [need for need in needs if need.gpus]
    on_cpu = [need for need in needs if not need.gpus]
    gpus, gpu_notes = assign_gpus(on_gpus, machine)
    cores, core_notes = assign_cores(on_cpu, machine)
    return DevicePlan(gpus | cores, gpu_notes + core_notes)


def _list_needs(models: Sequence[spec.Model], *, has_gpu: bool) -> Iterator[EngineNeed]:
    for model in models:
        hardware, ranks = model.spec.hardware, model.spec.engine.parallel.gpus
        on_cpu = hardware.gpu == "none" or not has_gpu
        for replica in range(model.spec.start_replicas):
            yield EngineNeed(
                model=model.name,
                replica=replica,
                gpus=0 if on_cpu else max(ranks, hardware.gpu_count or 0),
                product="" if hardware.gpu in {"auto", "none"} else hardware.gpu,
                ranks=ranks,
                cpu=None if hardware.cpu is None else max(1, int(hardware.cpu)),
            )
