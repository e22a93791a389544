"""Engines of this machine, installed with a double of uv."""

from pathlib import Path

import pytest

from remuda import spec
from remuda.engine.install.installation import environment_path, python_version
from remuda.fleet.engines import EngineFactory
from remuda.fleet.plan import FleetDevices
from remuda.fleet.reporting import events
from remuda.machine.home import Home
from remuda.planner.devices import DevicePlan, EngineDevices

FAKE_UV = Path(__file__).parents[1] / "engine" / "install" / "fake_uv.sh"
DEMO = {"metadata": {"name": "m"}, "spec": {"source": "demo://remuda-demo", "hardware": {"gpu": "none"}}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("REMUDA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REMUDA_UV", str(FAKE_UV))
    monkeypatch.setenv("REMUDA_TORCH_INDEX", "http://127.0.0.1:9")
    monkeypatch.setenv("FAKE_UV_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("FAKE_UV_PYTHON", python_version())
    return Home.from_environment()


async def test_every_engine_is_built_with_the_devices_that_the_plan_gives_it(home: Home) -> None:
    given = {("m", 0): EngineDevices(cores=(0,), threads=1), ("m", 1): EngineDevices(cores=(1,), threads=1)}
    factory = EngineFactory(home, FleetDevices(plan=DevicePlan(given)))
    model = spec.Model.model_validate(DEMO)
    await factory.prepare(model, lambda _: None)
    plans = [factory.build(model, replica, 9000 + replica, lambda _: None)._plan for replica in range(2)]
    assert [(plan.id, plan.port, plan.env["REMUDA_CORES"]) for plan in plans] == [
        ("m-0", 9000, "0"),
        ("m-1", 9001, "1"),
    ]


async def test_an_engine_is_installed_once_and_the_environment_it_supersedes_is_noted(home: Home) -> None:
    current = environment_path(home, "0.32.0", "cpu-pypi")
    assert current is not None
    older = current.with_name(current.name[:-8] + "0" * 8)
    older.mkdir(parents=True)
    (older / "weight").write_bytes(bytes(100_000_000))
    heard: list[events.AnyEvent] = []
    factory = EngineFactory(home, FleetDevices())
    for _ in range(2):
        await factory.prepare(spec.Model.model_validate(DEMO), heard.append)
    notes = [event.text for event in heard if isinstance(event, events.Note)]
    assert notes[:2] == [
        "1 engine that is no longer used takes 0.1 GB; `remuda engine remove --superseded` deletes it",
        f"vLLM 0.32.0 (cpu-pypi) in {current}",
    ]
    assert (home.engines.parents[1] / "calls").read_text().count("pip install") == 1
