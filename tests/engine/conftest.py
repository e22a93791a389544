"""Real vLLM for these tests: the installation, models, and engines that are started once and shared."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.engine.front import Front, open_front
from tests.engine.route_requests import ALIASES
from tests.engine.running import Running, make_document, make_model, make_models

from remuda import engine as engine_package
from remuda import spec
from remuda.engine.install.installation import Installation
from remuda.engine.install.installer import install_engine
from remuda.engine.plan import EnginePlan, Place, plan_engine
from remuda.engine.status import EngineStatus
from remuda.engine.supervisor import EngineSupervisor, SupervisorSettings, make_no_group
from remuda.machine import processes
from remuda.machine.cgroups import find_parent
from remuda.machine.devices import read_machine
from remuda.machine.home import Home
from remuda.machine.ports import pick_free_port
from remuda.planner.devices import plan_devices

DEMO = Path(engine_package.__file__).parent / "demo"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here may wait for engines to start; all share one event loop, so that engines can be shared."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(600), append=False)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The user's own engines (installing takes a minute), everything else in a folder of its own."""
    real = Home.from_environment()
    root = tmp_path_factory.mktemp("home")
    return dataclasses.replace(real, weights=root / "weights", state=root / "state", logs=root / "logs")


@pytest.fixture(scope="session")
def installation(home: Home) -> Installation:
    return install_engine(home, variant="cpu")


@pytest.fixture(scope="session")
def small_model(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model where it is bundled, else a random one of its size."""
    if (DEMO / "model.safetensors").exists():
        return DEMO
    return make_model(installation, tmp_path_factory.mktemp("small"), 128, 2, 2048)


@pytest.fixture(scope="session")
def adapters(small_model: Path) -> dict[str, Path]:
    """Its LoRA adapters by the names of their folders."""
    return {path.parent.name: path.parent for path in sorted(small_model.rglob("adapter_config.json"))}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def launch(home: Home, installation: Installation, launch_plan: Callable[..., Running]) -> Callable[..., Running]:
    """Start an engine for a model file."""

    def start(model: spec.Model, replica: int = 0, settings: SupervisorSettings | None = None) -> Running:
        place = Place(replica, pick_free_port(), plan_devices([model], read_machine()).of(model.name, replica))
        return launch_plan(plan_engine(model, place, installation, home), model.served_name, settings)

    return start


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def launch_plan() -> AsyncIterator[Callable[..., Running]]:
    """Start engines, in control groups where the fleet would; all are stopped at the end, and nothing may be left."""
    started: list[Running] = []
    groups = find_parent()
    make_group = make_no_group if groups is None else groups.create

    def start(plan: EnginePlan, name: str, settings: SupervisorSettings | None = None) -> Running:
        history: list[EngineStatus] = []
        started.append(Running(EngineSupervisor(plan, history.append, settings, make_group), history, name))
        return started[-1]

    yield start
    for running in started:
        pid = next((status.pid for status in reversed(running.history) if status.pid), None)
        await running.engine.stop()
        await running.task
        assert pid is None or processes.find_group(pid) == []


@pytest.fixture(scope="session")
def shared_model(small_model: Path, adapters: dict[str, Path]) -> spec.Model:
    """The model file of the shared engine: a second name, adapters with second names, tools."""
    listed = [{"name": name, "source": f"file://{path}", "aliases": [f"a-{name}"]} for name, path in adapters.items()]
    settings = {"maxModelLen": 2048, "maxNumSeqs": 16, "adapters": listed, "maxAdapterRank": 64, "toolParser": "hermes"}
    return make_document("small", small_model, {"aliases": [ALIASES["small"]]}, **settings)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(launch: Callable[..., Running], shared_model: spec.Model) -> Running:
    """One engine with its adapters, for everything that does not hurt it."""
    running = launch(shared_model)
    await running.until_ready()
    return running


@pytest.fixture(scope="session")
def random_models(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model with random weights of each kind that the demo model is not: kind → folder."""
    root = tmp_path_factory.mktemp("random")
    folders = {kind: root / kind for kind in ("embedder", "judge", "listener")}
    make_models(installation, [{"kind": kind, "folder": str(folder)} for kind, folder in folders.items()])
    return folders


@pytest.fixture(scope="session")
def other_models(small_model: Path, random_models: dict[str, Path]) -> list[spec.Model]:
    """Model files of the engines besides the shared one."""
    small = {"maxModelLen": 256, "maxNumSeqs": 8, "maxNumBatchedTokens": 2048}
    speculative = {"method": "ngram", "numTokens": 3, "promptLookupMin": 1, "promptLookupMax": 3}
    guessing = {"maxModelLen": 2048, "maxNumSeqs": 16, "speculative": speculative, "prefixCaching": False}
    return [
        make_document(name, folder, {"capabilities": capabilities, "aliases": [ALIASES[name]]}, **settings)
        for name, folder, capabilities, settings in (
            ("guess", small_model, ["chat", "completion"], guessing),
            ("embed", random_models["embedder"], ["embedding"], small),
            ("judge", random_models["judge"], ["rerank", "score", "classify"], small),
            ("listen", random_models["listener"], ["transcription"], {**small, "maxModelLen": 128}),
        )
    ]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engines(
    launch: Callable[..., Running], shared: Running, other_models: list[spec.Model]
) -> dict[str, Running]:
    """One engine of each kind, by the name of its model. Two start at a time, one for each core of a small machine."""
    running = {"small": shared}
    for first in range(0, len(other_models), 2):
        pair = {model.name: launch(model) for model in other_models[first : first + 2]}
        for started in pair.values():
            await started.until_ready()
        running |= pair
    return running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def front(
    engines: dict[str, Running],
    shared_model: spec.Model,
    other_models: list[spec.Model],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Front]:
    """A gateway in front of one engine of each kind, with a tap before each."""
    served = [(model, engines[model.name]) for model in (shared_model, *other_models)]
    async with open_front(served, tmp_path_factory.mktemp("gateway")) as opened:
        yield opened
