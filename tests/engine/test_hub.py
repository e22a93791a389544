"""`hf://` with the real hub client against a hub on this machine."""

import asyncio
import json
import os
import signal
import threading

import pytest
from tests.engine.hub_server import Hub, Repository, RunningHub, read_folder
from tests.engine.running import poll

from remuda import spec
from remuda.engine.errors import WeightsError
from remuda.engine.plan import Place, plan_engine
from remuda.engine.status import EngineState, Progress
from remuda.engine.weights import fetch_weights, read_marker
from remuda.machine.ports import pick_free_port
from remuda.machine.processes import find_descendants

pytestmark = pytest.mark.asyncio(loop_scope="session")
NAME = "someone/model"
TOKEN = "hf_aSecretForThisTestOnly"
BIG = bytes(range(256)) * 120_000
"""31 MB: the hub client writes pieces of 10 MiB, which is what an interruption may lose."""
PIECE = 10 * 1024 * 1024


def make_hf_model(revision: str = "v1", *, token: bool = False) -> spec.Model:
    document = {
        "apiVersion": spec.API_VERSION,
        "kind": "Model",
        "metadata": {"name": "hub-model"},
        "spec": {"source": f"hf://{NAME}@{revision}", "engine": {"dtype": "float32", "kvCacheMemory": "64Mi"}},
    }
    if token:
        document["spec"]["sourceToken"] = {"env": "TEST_HUB_TOKEN"}
    return spec.Model.model_validate(document)


@pytest.fixture
def hub(monkeypatch):
    hub = Hub({NAME: Repository({"config.json": b"{}", "model.safetensors": BIG, "original/model.pth": b"x" * 100})})
    with RunningHub(hub) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setenv("TEST_HUB_TOKEN", TOKEN)
        yield hub


@pytest.fixture
def fresh_home(home, tmp_path):
    return type(home)(home.engines, tmp_path / "weights", home.cache, tmp_path / "state", tmp_path / "logs")


@pytest.mark.req("E8.hub-mirror", level="double")
async def test_a_pinned_revision_is_downloaded_once_with_progress_in_bytes(hub, fresh_home, installation):
    seen: list[Progress] = []
    paths = await fetch_weights(make_hf_model(), installation, fresh_home, seen.append)
    assert (paths.model / "model.safetensors").read_bytes() == BIG
    assert not (paths.model / "original").exists()
    assert read_marker(paths.model)["commit"] == hub.repositories[NAME].commit
    assert any(path.startswith(f"/api/models/{NAME}/revision/v1") for _, path, _ in hub.requests)
    assert seen[-1].done_bytes == seen[-1].total_bytes == len(BIG) + 2
    asked = len(hub.requests)
    assert await fetch_weights(make_hf_model(), installation, fresh_home) == paths
    assert len(hub.requests) == asked


@pytest.mark.req("E8.hub-mirror", level="double")
async def test_a_connection_cut_in_the_middle_of_a_file_goes_on_from_there(hub, fresh_home, installation):
    hub.cut_after_bytes = [25_000_000]
    paths = await fetch_weights(make_hf_model(), installation, fresh_home)
    assert (paths.model / "model.safetensors").read_bytes() == BIG
    assert [wanted for _, _, wanted in hub.requests if wanted] == [f"bytes={2 * PIECE}-"]


async def test_a_killed_download_is_taken_up_where_it_ended(hub, fresh_home, installation):
    hub.stall = release = threading.Event()
    folder = fresh_home.weights / "hf" / "someone--model@v1"
    first = asyncio.create_task(fetch_weights(make_hf_model(), installation, fresh_home))

    def part_bytes() -> int:
        return sum(path.stat().st_size for path in (folder / ".partial").glob("*") if path.is_file())

    await poll(lambda: part_bytes() == 2 * PIECE, 30)
    (child,) = (pid for pid in find_descendants(os.getpid()) if b"fetch.py" in _command(pid))
    os.kill(child, signal.SIGKILL)
    with pytest.raises(WeightsError, match="goes on where it ended"):
        await first
    hub.stall = None
    release.set()
    paths = await fetch_weights(make_hf_model(), installation, fresh_home)
    assert (paths.model / "model.safetensors").read_bytes() == BIG
    assert [wanted for _, _, wanted in hub.requests if wanted] == [f"bytes={2 * PIECE}-"]
    assert not (folder / ".partial").exists()


@pytest.mark.req("E8.hub-mirror", level="double")
async def test_a_damaged_file_is_refused_by_its_checksum(hub, fresh_home, installation):
    hub.repositories[NAME].digest = "0" * 64
    with pytest.raises(WeightsError, match="arrived damaged"):
        await fetch_weights(make_hf_model(), installation, fresh_home)


async def test_the_token_is_sent_to_the_hub_and_stands_nowhere_else(hub, fresh_home, installation):
    hub.repositories[NAME].token = TOKEN
    task = asyncio.create_task(fetch_weights(make_hf_model(token=True), installation, fresh_home))
    seen = b""
    while not task.done():
        for pid in find_descendants(os.getpid()):
            seen += _command(pid) + _environment(pid).replace(b"TEST_HUB_TOKEN=" + TOKEN.encode(), b"")
        await asyncio.sleep(0.05)
    await task
    assert hub.tokens == {TOKEN}
    assert b"fetch.py" in seen
    assert TOKEN.encode() not in seen


FAULTS = {
    "unknown": ({"repositories": {}}, "not found, or private", "sourceToken"),
    "private": ({"token": "another"}, "does not accept the token", "token"),
    "gated": ({"token": "another", "gated": True}, "gated", "ask for access"),
    "no such revision": ({"revisions": ()}, "no revision 'v1'", "commits"),
    "404": ({"status": 404}, "no such model", "name"),
    "429": ({"status": 429}, "limits the rate", "wait"),
    "500": ({"status": 500}, "an error of its own", "try again"),
}


@pytest.mark.parametrize(("fault", "message", "hint"), FAULTS.values(), ids=FAULTS)
async def test_what_the_hub_refuses_is_said_in_plain_words(hub, fresh_home, installation, fault, message, hint):
    for name, value in fault.items():
        setattr(hub if hasattr(hub, name) else hub.repositories[NAME], name, value)
    with pytest.raises(WeightsError) as caught:
        await fetch_weights(make_hf_model(token="token" in fault), installation, fresh_home)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert TOKEN not in str(caught.value)


async def test_no_network_is_said_in_plain_words(fresh_home, installation, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{pick_free_port()}")
    with pytest.raises(WeightsError, match="cannot be reached") as caught:
        await fetch_weights(make_hf_model(), installation, fresh_home)
    assert "HF_ENDPOINT" in caught.value.hint


async def test_two_replicas_download_once(hub, fresh_home, installation):
    await asyncio.gather(*(fetch_weights(make_hf_model(), installation, fresh_home) for _ in range(2)))
    assert sum(method == "GET" and "safetensors" in path for method, path, _ in hub.requests) == 1


async def test_a_model_from_the_hub_is_served(hub, fresh_home, installation, small_model, launch_plan):
    hub.repositories[NAME] = Repository(read_folder(small_model))
    model = make_hf_model()
    await fetch_weights(model, installation, fresh_home)
    running = launch_plan(plan_engine(model, Place(port=pick_free_port()), installation, fresh_home), "hub-model")
    status = await running.until_ready()
    await running.engine.stop()
    assert status.state is EngineState.READY
    assert json.loads((fresh_home.weights / "hf/someone--model@v1/config.json").read_text())["model_type"] == "llama"


def _command(pid: int) -> bytes:
    return _read(f"/proc/{pid}/cmdline")


def _environment(pid: int) -> bytes:
    return _read(f"/proc/{pid}/environ")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
