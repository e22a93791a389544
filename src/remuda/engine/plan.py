"""One engine, planned: everything `supervise` needs to run it, as a value that can be shown and tested.

Reads the machine's cores and the secrets the file names; starts and creates nothing. Fleet calls `plan_engine` once per
replica, after the engine is installed and the weights are here.
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
from remuda.vllm.arguments import Target, render_arguments, render_environment, render_notes
from remuda.vllm.dialect import pick_dialect
from remuda.vllm.questions import TokenQuestion, token_question

_LAUNCHER: Final = Path(__file__).parent / "inside" / "launch.py"

_PASSED_EXACT: Final = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD", "CC", "CXX"}
)
_PASSED_PREFIXES: Final = ("LC_", "CUDA_", "NVIDIA_", "NCCL_", "OTEL_", "SSL_CERT_")
"""What an engine inherits. Not the rest: tokens and keys of the user's shell have no business in it (TMPDIR: see
scratch)."""


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """One replica of one model."""

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
    """Name, aliases and adapters: all must be served before it counts as ready."""
    question: TokenQuestion
    """What is asked for one token."""
    startup_timeout_s: float
    drain_timeout_s: float
    notes: tuple[str, ...] = ()
    """What was decided for the user: block size mapped, threads, eager mode …; shown once by `up`."""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """Values to be masked in logs."""

    @property
    def id(self) -> str:
        """The name of this engine; its log file has it too."""
        return name_engine(self.model, self.replica)

    def with_port(self, port: int) -> "EnginePlan":
        """The same engine on another port."""
        at = self.argv.index("--port") + 1
        return replace(self, port=port, argv=(*self.argv[:at], str(port), *self.argv[at + 1 :]))


def plan_engine(model: spec.Model, replica: int, port: int, installation: Installation, home: Home) -> EnginePlan:
    """Plan one replica on this machine."""
    settings = model.spec.engine
    if settings.parallel.nodes > 1:
        raise EngineError(
            f"model {model.metadata.name}: an engine over {settings.parallel.nodes} machines cannot run on one",
            "set parallel.nodes to 1 here; several machines need a cluster",
        )
    target = _target(model, port, installation, home)
    secrets = _secret_environment(model)
    env = {**_inherited(os.environ), **render_environment(model, target), **secrets}
    program = (str(installation.python), "-P", str(_LAUNCHER), pick_dialect(settings.version).entry_module)
    return EnginePlan(
        model=model.metadata.name,
        replica=replica,
        argv=(*program, *render_arguments(model, target)),
        env=env,
        host=target.host,
        port=port,
        log_path=home.logs / f"{name_engine(model.metadata.name, replica)}.log",
        scratch_path=home.state / "run",
        served_names=(model.served_name, *model.spec.aliases, *(adapter.name for adapter in settings.adapters)),
        question=token_question(model.spec.capabilities),
        startup_timeout_s=float(settings.startup_timeout),
        drain_timeout_s=float(settings.drain_timeout),
        notes=render_notes(model, target),
        secrets=frozenset(secrets.values()),
    )


def wants_gpu(model: spec.Model) -> bool | None:
    """What the file says about the device: True a GPU, False the CPU, None whatever is there."""
    gpu = model.spec.hardware.gpu
    return None if gpu == "auto" else gpu != "none"


def _target(model: spec.Model, port: int, installation: Installation, home: Home) -> Target:
    weights = locate_weights(model, home)
    cores = tuple(sorted(os.sched_getaffinity(0)))
    return Target(
        variant="cuda" if parse_variant(installation.variant).device == "cuda" else "cpu",
        model_path=str(weights.model),
        port=port,
        threads=plan_threads(model, len(cores)),
        cores=cores,
        adapter_paths={name: str(path) for name, path in weights.adapters.items()},
        draft_path=str(weights.draft) if weights.draft else None,
        cache_path=str(home.cache),
    )


def plan_threads(model: spec.Model, cores: int) -> int:
    """OpenMP threads of each rank: what the file gives, else an equal share with one core left for everything else.

    One thread is fastest for a small model on two cores (measured: 5,900 tokens/s against 3,400 with two), because
    the API process and the gateway need a core as well.
    """
    ranks = model.spec.engine.parallel.gpus
    if model.spec.hardware.cpu is not None:
        return max(1, int(model.spec.hardware.cpu) // ranks)
    return max(1, (cores - 1) // (ranks * max(1, model.spec.start_replicas)))


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
