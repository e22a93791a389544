"""The plan of one engine."""

import dataclasses
import sys
from pathlib import Path

import pytest

from remuda import spec
from remuda.engine.errors import EngineError, WeightsError
from remuda.engine.install.installation import Installation
from remuda.engine.plan import Place, plan_engine, wants_gpu
from remuda.engine.weights import locate_weights
from remuda.machine.errors import SecretError
from remuda.machine.home import Home
from remuda.machine.ports import pick_free_port
from remuda.planner.devices import EngineDevices

INSTALLATION = Installation(Path("/e"), "0.32.0", "cpu-pypi", Path(sys.executable), "3.11", 1)


@pytest.fixture
def home(tmp_path):
    return Home.from_environment({"REMUDA_HOME": str(tmp_path / "home")})


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def make_model(source: object, spec_fields: dict | None = None, **engine: object) -> spec.Model:
    document = {
        "apiVersion": spec.API_VERSION,
        "kind": "Model",
        "metadata": {"name": "m"},
        "spec": {"source": str(source), "engine": engine, **(spec_fields or {})},
    }
    return spec.Model.model_validate(document)


def test_a_plan_names_its_replica_port_log_and_everything_that_must_be_served(home, weights):
    adapter = weights / "sql"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    adapters = [{"name": "sql", "source": f"file://{adapter}"}]
    model = make_model(
        f"file://{weights}", {"aliases": ["x"]}, adapters=adapters, startupTimeout="5m", drainTimeout="9s"
    )
    plan = plan_engine(model, Place(1, 9000), INSTALLATION, home)
    assert (plan.id, plan.model, plan.port, plan.host) == ("m-1", "m", 9000, "127.0.0.1")
    assert plan.log_path == home.logs / "m-1.log"
    assert plan.served_names == ("m", "x", "sql")
    assert (plan.startup_timeout_s, plan.drain_timeout_s) == (300.0, 9.0)
    assert plan.argv[0] == sys.executable
    assert plan.argv[3] == "vllm.entrypoints.launchers.api_server.entry"
    assert plan.env["VLLM_TARGET_DEVICE"] == "cpu"


def test_another_port_changes_nothing_but_the_port(home, weights):
    plan = plan_engine(make_model(f"file://{weights}"), Place(port=9000), INSTALLATION, home)
    moved = plan.with_port(9001)
    assert [pair for pair in zip(plan.argv, moved.argv, strict=True) if pair[0] != pair[1]] == [("9000", "9001")]
    assert moved.with_port(9000) == plan


def test_secrets_are_put_into_the_environment_and_nowhere_else(home, weights, monkeypatch):
    monkeypatch.setenv("MY_KEY", "open-sesame")
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    model = make_model(f"file://{weights}", env=[{"name": "S3_KEY", "valueFrom": {"env": "MY_KEY"}}])
    plan = plan_engine(model, Place(), INSTALLATION, home)
    assert plan.env["S3_KEY"] == "open-sesame"
    assert plan.secrets == {"open-sesame"}
    assert "open-sesame" not in repr(plan)
    assert "HF_TOKEN" not in plan.env
    assert not any("open-sesame" in word for word in plan.argv)


def test_a_secret_that_cannot_be_read_names_its_field(home, weights):
    model = make_model(f"file://{weights}", env=[{"name": "KEY", "valueFrom": {"env": "REMUDA_TEST_UNSET"}}])
    with pytest.raises(SecretError) as caught:
        plan_engine(model, Place(), INSTALLATION, home)
    assert caught.value.message == "model m: env KEY: the environment variable REMUDA_TEST_UNSET is not set"


def test_an_engine_over_several_machines_is_refused_here(home, weights):
    with pytest.raises(EngineError, match="over 2 machines"):
        plan_engine(make_model(f"file://{weights}", parallel={"nodes": 2}), Place(), INSTALLATION, home)


ELSEWHERE = {
    "gs": "gs://bucket/model",
    "s3": "s3://bucket/model",
    "oci": "oci://registry.example/model:1",
    "pvc": "pvc://claim/model",
}


@pytest.mark.parametrize("source", ELSEWHERE.values(), ids=ELSEWHERE)
def test_weights_that_only_a_cluster_can_read_are_refused_with_a_hint(home, source):
    with pytest.raises(WeightsError, match="cannot be read on this machine") as caught:
        locate_weights(make_model(source), home)
    assert "file:///" in caught.value.hint


def test_a_folder_that_is_not_a_model_is_named(home, tmp_path):
    for source, message in (
        (f"file://{tmp_path}/none", "does not exist"),
        (f"file://{tmp_path}", "has no config.json"),
        (f"file://{__file__}", "is a file"),
        ("demo://other", "no bundled model"),
    ):
        with pytest.raises(WeightsError, match=message):
            locate_weights(make_model(source), home)


def test_weights_of_a_hub_that_were_not_downloaded_are_reported(home):
    with pytest.raises(WeightsError, match="not downloaded"):
        locate_weights(make_model("hf://org/name@v1"), home)


CUDA = dataclasses.replace(INSTALLATION, variant="cuda")
DEVICES = {
    "indices of GPUs": (
        EngineDevices(gpus=("4", "5")),
        {},
        {"CUDA_VISIBLE_DEVICES": "4,5", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "REMUDA_CORES": None},
    ),
    "an instance of a GPU": (EngineDevices(gpus=("MIG-1",)), {}, {"CUDA_VISIBLE_DEVICES": "MIG-1"}),
    "cores": (EngineDevices(cores=(2, 3), threads=2), {}, {"REMUDA_CORES": "2,3", "OMP_NUM_THREADS": "2"}),
    "no cores of its own": (EngineDevices(threads=7), {}, {"REMUDA_CORES": None, "OMP_NUM_THREADS": "7"}),
    "cores for two ranks": (
        EngineDevices(cores=(4, 5, 6, 7), threads=2),
        {"parallel": {"tensor": 2}},
        {"REMUDA_CORES": "4,5,6,7", "VLLM_CPU_OMP_THREADS_BIND": "4,5|6,7"},
    ),
    "too few cores for two ranks": (
        EngineDevices(cores=(4,)),
        {"parallel": {"tensor": 2}},
        {"VLLM_CPU_OMP_THREADS_BIND": "nobind"},
    ),
    "the file binds itself": (
        EngineDevices(cores=(2, 3)),
        {"env": [{"name": "VLLM_CPU_OMP_THREADS_BIND", "value": "0"}]},
        {"REMUDA_CORES": None, "VLLM_CPU_OMP_THREADS_BIND": "0"},
    ),
}


@pytest.mark.parametrize(("devices", "engine", "expected"), DEVICES.values(), ids=DEVICES)
def test_an_engine_sees_the_devices_that_it_was_given_and_no_others(
    home, weights, monkeypatch, devices, engine, expected
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7")
    installation = CUDA if devices.gpus else INSTALLATION
    plan = plan_engine(make_model(f"file://{weights}", **engine), Place(devices=devices), installation, home)
    assert {name: plan.env.get(name) for name in expected} == expected


@pytest.mark.parametrize(("gpu", "wanted"), [("auto", None), ("none", False), ("L4", True)])
def test_the_file_asks_for_a_gpu_for_the_cpu_or_for_either(gpu, wanted):
    assert wants_gpu(make_model("demo://remuda-demo", {"hardware": {"gpu": gpu}})) is wanted


def test_a_free_port_can_be_bound():
    assert 1024 <= pick_free_port() < 65536
