"""What `up` will run, decided before anything is started: files in, one value out, every problem of the files at
once.

Knows files and checks; starts nothing. `cli.up` shows the plan, `supervisor` carries it out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from remuda import spec
from remuda.fleet.checking import check_sense
from remuda.fleet.errors import FleetError
from remuda.gateway.settings import GatewaySettings, check_exposure, settings_from_spec, wants_keys
from remuda.gateway.table import KeyRecord, Table, table_from_spec

LAPTOP_FILE = Path(__file__).parent / "laptop.yaml"


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """Everything `up` is about to run."""

    files: tuple[str, ...]
    started: tuple[spec.Model, ...]
    """Models whose engines are started here."""
    routed: tuple[spec.Model, ...]
    """Models whose engines already run."""
    settings: GatewaySettings
    table: Table
    """Names, keys and the engines that already run; the started ones join as they become ready."""
    stored_keys: tuple[KeyRecord, ...] = ()
    """Keys of `remuda tenant`, as they are now; they join the table's, and may change while the fleet runs."""
    notes: tuple[str, ...] = ()
    """What the checks advise; nothing that stops `up`."""

    @property
    def models(self) -> tuple[spec.Model, ...]:
        """All models, in the order of the files."""
        return self.started + self.routed

    @property
    def needs_key(self) -> bool:
        """Whether a request needs an API key."""
        return wants_keys(self.settings, bool(self.table.keys or self.stored_keys))

    @property
    def replicas(self) -> int:
        """Engines to start."""
        return sum(model.spec.start_replicas for model in self.started)


def plan_fleet(files: Sequence[Path], port: int | None = None, stored_keys: tuple[KeyRecord, ...] = ()) -> FleetPlan:
    """Load and check `files` (none: the packaged example). `port` overrides the file's."""
    paths = tuple(files) or (LAPTOP_FILE,)
    loaded = spec.load_files(list(paths))
    notes = check_sense(loaded)
    if not loaded.models:
        raise FleetError(
            f"no model in {', '.join(map(str, paths))}", "a fleet needs at least one document of `kind: Model`"
        )
    settings = plan_settings(loaded, port)
    table = table_from_spec(loaded, {})
    check_exposure(settings, bool(table.keys or stored_keys))
    return FleetPlan(
        files=tuple(str(path.absolute()) for path in paths),
        started=tuple(model for model in loaded.models if model.spec.source is not None),
        routed=tuple(model for model in loaded.models if model.spec.source is None),
        settings=settings,
        table=table,
        stored_keys=stored_keys,
        notes=notes,
    )


def plan_settings(loaded: spec.Loaded, port: int | None) -> GatewaySettings:
    """The settings of the one gateway that `up` and `gateway` run."""
    if len(loaded.gateways) > 1:
        names = ", ".join(gateway.metadata.name for gateway in loaded.gateways)
        raise FleetError(f"more than one ModelGateway: {names}", "one machine runs one gateway: keep one of them")
    settings = settings_from_spec(loaded.gateways[0] if loaded.gateways else None)
    return settings if port is None else replace(settings, port=port)
