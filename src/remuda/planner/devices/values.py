"""Devices of a machine, and what an engine needs and gets of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from remuda.errors import RemudaError

Kind = tuple[str, str]


class DeviceError(RemudaError):
    """The machine has too few devices for what is to be started."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A device that one engine can own: a GPU, or an instance of a GPU that is partitioned (MIG)."""

    index: int
    """Of the GPU, in the order of the PCI bus."""
    name: str
    """The product, as the driver names it; "" when it is not known."""
    selector: str
    """Its index or UUID, as CUDA_VISIBLE_DEVICES takes it."""
    uuid: str = ""
    instance: str = ""
    """The profile of a MIG instance, for example 3g.40gb. CUDA uses one instance for each process."""

    @property
    def kind(self) -> Kind:
        """An engine with several GPUs gets GPUs of one kind."""
        return self.name, self.instance


@dataclass(frozen=True, slots=True)
class Core:
    """A logical CPU that this process may use."""

    id: int
    physical: int
    """The physical core; hyper-threads share one."""
    node: int = 0
    """The NUMA node."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The devices of one machine."""

    gpus: tuple[Gpu, ...] = ()
    links: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """(lower index, higher index) of two GPUs → how fast their link is; an unknown link is 0."""
    cores: tuple[Core, ...] = (Core(0, 0),)
    core_limit: float | None = None
    """Cores' worth of time that a control group grants; None when there is no limit."""


@dataclass(frozen=True, slots=True)
class EngineDevices:
    """The devices of one engine."""

    gpus: tuple[str, ...] = ()
    """Selectors for CUDA_VISIBLE_DEVICES."""
    cores: tuple[int, ...] = ()
    """CPU: one logical CPU of each physical core that this engine alone has. Empty: it may use every core."""
    threads: int = 1
    """CPU: OpenMP threads of each rank."""


@dataclass(frozen=True, slots=True)
class EngineNeed:
    """What one engine needs."""

    model: str
    replica: int
    gpus: int
    """GPUs that the engine needs; 0 means that it runs on the CPU."""
    product: str = ""
    """The GPU that the file asks for; "" takes any."""
    ranks: int = 1
    cpu: int | None = None
    """Cores that the file gives it."""

    @property
    def name(self) -> str:
        return f"{self.model}-{self.replica}"
