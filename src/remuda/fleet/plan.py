"""Decides what `up` will run before anything is started: files in, one value out, or every problem of the files.

It reads files, the devices of this machine and the config.json of weights that are already here. It starts nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from remuda import planner, spec
from remuda.engine.plan import wants_gpu
from remuda.engine.weights import find_folder
from remuda.fleet.errors import FleetError
from remuda.gateway.access.tenant_store import HOW_TO_OPEN, NO_KEYS, NO_STORED_KEYS, StoredKeys
from remuda.gateway.settings import GatewaySettings, check_exposure, settings_from_spec, wants_keys
from remuda.gateway.table import Table, table_from_spec
from remuda.machine.devices import read_machine
from remuda.machine.home import Home
from remuda.planner.devices import DevicePlan, Machine, plan_devices

LAPTOP_FILE = Path(__file__).parent / "laptop.yaml"
_MAX_CONFIG_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class FleetDevices:
    """The devices of the fleet's engines."""

    has_gpu: bool = False
    plan: DevicePlan = field(default_factory=DevicePlan)


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """Everything that `up` is about to run."""

    files: tuple[str, ...]
    started: tuple[spec.Model, ...]
    """Models whose engines are started here."""
    routed: tuple[spec.Model, ...]
    """Models whose engines already run."""
    settings: GatewaySettings
    table: Table
    """Names, keys and the engines that already run; started engines join when they are ready."""
    stored_keys: StoredKeys = NO_STORED_KEYS
    """The keys of `remuda tenant` now. They join the table's keys, and may change while the fleet runs."""
    devices: FleetDevices = field(default_factory=FleetDevices)
    notes: tuple[str, ...] = ()
    """Advice of the checks, and what was decided about devices; none of it stops `up`."""

    @property
    def models(self) -> tuple[spec.Model, ...]:
        """All models, in the order of the files."""
        return self.started + self.routed

    @property
    def needs_key(self) -> bool:
        """Whether a request needs an API key."""
        return wants_keys(self.settings, self.stored_keys.add_to(self.table).asks_for_keys)

    @property
    def replicas(self) -> int:
        """The number of engines to start."""
        return sum(model.spec.start_replicas for model in self.started)


def plan_fleet(files: Sequence[Path], port: int | None = None, stored_keys: StoredKeys = NO_STORED_KEYS) -> FleetPlan:
    """Load and check `files`; without files, the packaged example. `port` overrides the port of the file."""
    paths = tuple(files) or (LAPTOP_FILE,)
    loaded = spec.load_files(list(paths))
    started = tuple(model for model in loaded.models if model.spec.source is not None)
    machine = read_machine() if started else Machine()
    notes = check_sense(loaded, has_gpu=bool(machine.gpus))
    if not loaded.models:
        raise FleetError(
            f"no model in {', '.join(map(str, paths))}", "a fleet needs at least one document of `kind: Model`"
        )
    settings = plan_settings(loaded, port)
    devices = plan_devices(started, machine)
    table = table_from_spec(loaded, {})
    keyed = stored_keys.add_to(table)
    check_exposure(settings, keyed.asks_for_keys)
    if wants_keys(settings, keyed.asks_for_keys) and not keyed.keys:
        notes = (*notes, f"warning: {NO_KEYS} (hint: {HOW_TO_OPEN})")
    return FleetPlan(
        files=tuple(str(path.absolute()) for path in paths),
        started=started,
        routed=tuple(model for model in loaded.models if model.spec.source is None),
        settings=settings,
        table=table,
        stored_keys=stored_keys,
        devices=FleetDevices(bool(machine.gpus), devices),
        notes=notes + devices.notes,
    )


def plan_settings(loaded: spec.Loaded, port: int | None) -> GatewaySettings:
    """The settings of the one gateway that `up` and `gateway` run."""
    if len(loaded.gateways) > 1:
        names = ", ".join(gateway.metadata.name for gateway in loaded.gateways)
        raise FleetError(f"more than one ModelGateway: {names}", "one machine runs one gateway: keep one of them")
    settings = settings_from_spec(loaded.gateways[0] if loaded.gateways else None)
    return settings if port is None else settings.with_port(port)


def check_sense(loaded: spec.Loaded, *, has_gpu: bool) -> tuple[str, ...]:
    """Raise PlanError with every reason why the files cannot run here as written; return what is merely unwise."""
    if not has_gpu:
        refuse_gpu(loaded.models)
    variant: planner.Variant = "cuda" if has_gpu else "cpu"
    problems = planner.check_all(loaded, variant, read_configs(loaded), one_machine=True)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise planner.PlanError(errors)
    return tuple(str(problem) for problem in problems)


def refuse_gpu(models: Sequence[spec.Model]) -> None:
    """Raise when a model asks for a GPU on a machine that has none, before gigabytes are downloaded for it."""
    for model in models:
        if model.spec.source is not None and wants_gpu(model):
            raise FleetError(
                f"model {model.name} asks for the GPU {model.spec.hardware.gpu}, and no GPU answers on this machine",
                "check `nvidia-smi`; `hardware: {gpu: none}` serves it on the CPU",
            )


def read_configs(loaded: spec.Loaded) -> Mapping[str, Mapping[str, object]]:
    """The config.json of each model whose weights are on this machine, by model name."""
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
