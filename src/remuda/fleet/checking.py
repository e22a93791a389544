"""Does it make sense on this machine? The planner's checks, given what this machine knows: its device, and the
config.json of weights that are already here.

Called by `plan` (before anything is started) and `cli.validate` (for the configs).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from remuda import planner, spec
from remuda.engine.install.variants import has_nvidia_gpu
from remuda.engine.plan import wants_gpu
from remuda.engine.weights import find_folder
from remuda.fleet.errors import FleetError
from remuda.machine.home import Home

_MAX_CONFIG_BYTES = 4 * 2**20


def check_sense(loaded: spec.Loaded) -> tuple[str, ...]:
    """Raise PlanError with every reason why this cannot run as written; what is merely unwise comes back as notes."""
    has_gpu = has_nvidia_gpu()
    if not has_gpu:
        refuse_gpu(loaded.models)
    variant: planner.Variant = "cuda" if has_gpu else "cpu"
    problems = planner.check_all(loaded, variant, read_configs(loaded), one_machine=True)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise planner.PlanError(errors)
    return tuple(str(problem) for problem in problems)


def refuse_gpu(models: Sequence[spec.Model]) -> None:
    """Raise when a model asks for a GPU, on a machine that has none: before gigabytes are downloaded for it."""
    for model in models:
        if model.spec.source is not None and wants_gpu(model):
            raise FleetError(
                f"model {model.name} asks for the GPU {model.spec.hardware.gpu}, and no GPU answers on this machine",
                "check `nvidia-smi`; `hardware: {gpu: none}` serves it on the CPU",
            )


def read_configs(loaded: spec.Loaded) -> Mapping[str, Mapping[str, object]]:
    """config.json of each model whose weights are on this machine, by model name."""
    home = Home.from_environment()
    configs = {}
    for model in loaded.models:
        folder = find_folder(spec.parse_source(model.spec.source), home) if model.spec.source else None
        if folder is not None and (config := read_config(folder)):
            configs[model.name] = config
    return configs


def read_config(folder: Path) -> Mapping[str, object]:
    """The config.json in a folder; empty when there is none that can be read."""
    path = folder / "config.json"
    try:
        if not path.is_file() or path.stat().st_size > _MAX_CONFIG_BYTES:
            return {}
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
