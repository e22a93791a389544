"""Real vLLM for these tests: the installation, models, and engines that are started once and shared."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.engine.running import Running, make_document, make_model

from remuda import engine as engine_package
from remuda import spec
from remuda.engine.install.installation import Installation
from remuda.engine.install.installer import install_engine
from remuda.engine.plan import EnginePlan, plan_engine
from remuda.engine.status import EngineStatus
from remuda.engine.supervisor import EngineSupervisor, SupervisorSettings
from remuda.machine import processes
from remuda.machine.home import Home
from remuda.machine.ports import pick_free_port

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
        return launch_plan(
            plan_engine(model, replica, pick_free_port(), installation, home), model.served_name, settings
        )

    return start


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def launch_plan() -> AsyncIterator[Callable[..., Running]]:
    """Start engines; whatever still runs at the end is stopped, and nothing may be left."""
    started: list[Running] = []

    def start(plan: EnginePlan, name: str, settings: SupervisorSettings | None = None) -> Running:
        history: list[EngineStatus] = []
        started.append(Running(EngineSupervisor(plan, history.append, settings), history, name))
        return started[-1]

    yield start
    for running in started:
        pid = next((status.pid for status in reversed(running.history) if status.pid), None)
        await running.engine.stop()
        await running.task
        assert pid is None or processes.find_group(pid) == []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(launch: Callable[..., Running], small_model: Path, adapters: dict[str, Path]) -> Running:
    """One engine with its adapters, for everything that does not hurt it."""
    listed = [{"name": name, "source": f"file://{path}"} for name, path in adapters.items()]
    model = make_document("small", small_model, maxModelLen=2048, maxNumSeqs=16, adapters=listed, maxAdapterRank=64)
    model = model.model_copy(update={"spec": model.spec.model_copy(update={"aliases": ("little",)})})
    running = launch(model)
    await running.until_ready()
    return running
