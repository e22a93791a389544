"""The whole product by its command line, with real vLLM. All tests share the installed engine and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.product.driving import READY_S, TWO_ENGINES, Machine

from remuda.engine.install.installer import install_engine
from remuda.machine.home import Home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let every test here wait for engines.

    The tests that share a fleet come last, so that it does not take time from engines that other tests start.
    """
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.timeout(600), append=False)
    ours.sort(key=uses_fleet)
    items[:] = [item for item in items if item not in ours] + ours


def uses_fleet(item: pytest.Item) -> bool:
    return "busy_machine" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def engines() -> Path:
    """The engine environments of the user who runs the tests: installing takes a minute."""
    home = Home.from_environment()
    install_engine(home)
    return home.engines


@pytest.fixture
def machine(tmp_path: Path, engines: Path) -> Iterator[Machine]:
    """An empty home. A fleet that still runs in it at the end is stopped at once."""
    made = Machine(tmp_path / "home", engines)
    yield made
    made.run("down", "--cut")


@pytest.fixture(scope="session")
def busy_machine(tmp_path_factory: pytest.TempPathFactory, engines: Path) -> Iterator[Machine]:
    """A machine on which examples/two-engines.yaml is served."""
    made = Machine(tmp_path_factory.mktemp("product") / "home", engines)
    try:
        done = made.run("up", "-d", "--port", "0", str(TWO_ENGINES), timeout_s=READY_S)
        assert done.status == 0, done.err
        yield made
    finally:
        made.run("down", "--cut")


@pytest.fixture(scope="session")
def url(busy_machine: Machine) -> str:
    """The address of its gateway, without /v1."""
    found: str = busy_machine.status()["gateway"]["url"]
    return found
