"""Plans one engine: everything that is needed to run it, as a value that can be shown and tested.

The module reads the secrets that the file names, and where the installation and the weights are. It starts and creates
nothing, and does not choose devices.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from remuda import spec
from remuda.engine.errors import EngineError
from remuda.engine.install.installation import Installation
from remuda.engine.install.variants import parse_variant
from remuda.engine.status import name_engine
from remuda.engine.weights import locate_weights
from remuda.machine.home import Home
from remuda.machine.secrets import read_secret
from remuda.planner.devices import EngineDevices
from remuda.vllm.arguments import Target, render_arguments, render_environment, render_notes
from remuda.vllm.dialect import pick_dialect
from remuda.vllm.questions import TokenQuestion, token_question

CORES_VARIABLE: Final = "REMUDA_CORES"
"""The CPU cores of the core and the workers; inside/launch.py binds them."""
_LAUNCHER: Final = Path(__file__).parent / "inside" / "launch.py"

_PASSED_EXACT: Final = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD", "CC", "CXX"}
)
_PASSED_PREFIXES: Final = ("LC_", "CUDA_", "NVIDIA_", "NCCL_", "OTEL_", "SSL_CERT_")
"""What an engine inherits from the environment. The rest of it may hold the user's tokens and keys. For TMPDIR see
scratch."""


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """Everything that is needed to start one replica of a model: command, environment, port, paths."""

    model: str
    replica: int
    """0, 1, … among the engines of one model."""
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    """The whole environment of the process; may hold secrets, so it is never printed."""
    host: str
    port: int
    log_path: Path
    scratch_path: Path
    """Where the folder for its sockets is made while it runs."""
    served_names: tuple[str, ...]
    """Name, aliases and adapters; the engine is ready only when it serves all of them."""
    question: TokenQuestion
    """The request for one token."""
    startup_timeout_s: float
    drain_timeout_s: float
    notes: tuple[str, ...] = ()
    """What was decided for the user, for example a block size that was rounded up."""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """Values that logs mask."""

    @property
    def id(self) -> str:
        """The name of this engine; its log file has it too."""
        return name_engine(self.model, self.replica)

    def with_port(self, port: int) -> "EnginePlan":
        """The same engine on another port."""
        at = self.argv.index("--port") + 1
        return replace(self, port=port, argv=(*self.argv[:at], str(port), *self.argv[at + 1 :]))


@dataclass(frozen=True, slots=True)
class Place:
    """Where one replica runs on this machine."""

    replica: int = 0
    port: int = 0
    devices: EngineDevices = field(default_factory=EngineDevices)


def plan_engine(model: spec.Model, place: Place, installation: Installation, home: Home) -> EnginePlan:
    """Plan one replica on this machine."""
    settings = model.spec.engine
    if settings.parallel.nodes > 1:
        raise EngineError(
            f"model {model.metadata.name}: an engine over {settings.parallel.nodes} machines cannot run on one",
            "set parallel.nodes to 1 here; several machines need a cluster",
        )
    target = _target(model, place, installation, home)
    secrets = _secret_environment(model)
    env = {
        **_inherited(os.environ),
        **_device_environment(model, place.devices),
        **render_environment(model, target),
        **secrets,
    }
    engine_id = name_engine(model.name, place.replica)
    program = (str(installation.python), "-P", str(_LAUNCHER), pick_dialect(settings.version).entry_module)
    return EnginePlan(
        model=model.metadata.name,
        replica=place.replica,
        argv=(*program, *render_arguments(model, target)),
        env=env,
        host=target.host,
        port=place.port,
        log_path=home.logs / f"{engine_id}.log",
        scratch_path=home.state / "run",
        served_names=(model.served_name, *model.spec.aliases, *(adapter.name for adapter in settings.adapters)),
        question=token_question(model.spec.capabilities),
        startup_timeout_s=float(settings.startup_timeout),
        drain_timeout_s=float(settings.drain_timeout),
        notes=render_notes(model, target),
        secrets=frozenset(secrets.values()),
    )


def wants_gpu(model: spec.Model) -> bool | None:
    """Whether the file asks for a GPU (True) or for the CPU (False). None: the file leaves it to the machine."""
    gpu = model.spec.hardware.gpu
    return None if gpu == "auto" else gpu != "none"


def _target(model: spec.Model, place: Place, installation: Installation, home: Home) -> Target:
    weights = locate_weights(model, home)
    return Target(
        variant="cuda" if parse_variant(installation.variant).device == "cuda" else "cpu",
        model_path=str(weights.model),
        port=place.port,
        threads=place.devices.threads,
        cores=place.devices.cores,
        adapter_paths={name: str(path) for name, path in weights.adapters.items()},
        draft_path=str(weights.draft) if weights.draft else None,
        cache_path=str(home.cache),
    )


def _device_environment(model: spec.Model, devices: EngineDevices) -> dict[str, str]:
    """Variables that give the engine its devices and no others; what the file's own `env` says comes after them.

    Indices of GPUs mean the order of the PCI bus, as nvidia-smi counts them; CUDA's own order would be by speed.
    """
    if devices.gpus:
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(devices.gpus)}
    if devices.cores and not any(variable.name == "VLLM_CPU_OMP_THREADS_BIND" for variable in model.spec.engine.env):
        return {CORES_VARIABLE: ",".join(map(str, devices.cores))}
    return {}


def _inherited(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environ.items() if name in _PASSED_EXACT or name.startswith(_PASSED_PREFIXES)
    }


def _secret_environment(model: spec.Model) -> dict[str, str]:
    return {
        variable.name: read_secret(variable.value_from, f"model {model.metadata.name}: env {variable.name}")
        for variable in model.spec.engine.env
        if variable.value_from is not None
    }
