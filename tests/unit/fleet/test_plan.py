import subprocess
import sys
from pathlib import Path

import pytest

from remuda import planner, spec
from remuda.fleet import plan
from remuda.fleet.errors import FleetError
from remuda.gateway.access.tenant_store import StoredKeys
from remuda.gateway.errors import GatewayError
from remuda.gateway.table import KeyRecord
from remuda.planner.devices import Core, DeviceError, Gpu, Machine

EXAMPLES = Path(__file__).parents[3] / "examples"
KEY = KeyRecord(hash="sha256:" + "0" * 64, tenant="acme")


@pytest.fixture(autouse=True)
def cpu_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "read_machine", lambda: Machine(cores=(Core(0, 0), Core(1, 1))))


def model(name: str = "demo", **fields: object) -> str:
    body = {"source": "demo://remuda-demo", **fields}
    return f"apiVersion: remuda.dev/v1alpha1\nkind: Model\nmetadata: {{name: {name}}}\nspec: {body}\n---\n"


def gateway(name: str, **fields: object) -> str:
    return f"apiVersion: remuda.dev/v1alpha1\nkind: ModelGateway\nmetadata: {{name: {name}}}\nspec: {fields}\n---\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fleet.yaml"


def test_packaged_example_is_the_one_in_examples() -> None:
    assert plan.LAPTOP_FILE.read_text() == (EXAMPLES / "laptop.yaml").read_text()


def test_without_files_the_packaged_example_is_served() -> None:
    planned = plan.plan_fleet([])
    assert [each.served_name for each in planned.started] == ["remuda-demo"]
    assert (planned.settings.listen.host, planned.settings.listen.port, planned.needs_key) == ("127.0.0.1", 8080, False)


def test_two_engines_are_two_replicas() -> None:
    assert plan.plan_fleet([EXAMPLES / "two-engines.yaml"]).replicas == 2


def test_the_port_of_the_command_line_overrides_the_file(file: Path) -> None:
    file.write_text(model() + gateway("door", listen={"port": 9999}))
    assert plan.plan_fleet([file]).settings.listen.port == 9999
    assert plan.plan_fleet([file], 0).settings.listen.port == 0


def test_keys_of_this_machine_ask_for_keys(file: Path) -> None:
    file.write_text(model())
    planned = plan.plan_fleet([file], stored_keys=StoredKeys((KEY,), wanted=True))
    assert (planned.needs_key, planned.notes) == (True, ())


NO_KEYS = (
    "warning: there is no API key, so the gateway refuses every request (hint: `remuda tenant create NAME` makes a "
    "key; `auth: {mode: open}` in a ModelGateway serves without keys)"
)


def test_keys_that_were_all_revoked_leave_the_gateway_closed_and_the_plan_says_so(file: Path) -> None:
    file.write_text(model())
    planned = plan.plan_fleet([file], stored_keys=StoredKeys((), wanted=True))
    assert (planned.needs_key, planned.notes) == (True, (NO_KEYS,))


@pytest.mark.parametrize(
    ("auth", "notes", "needs_key"), [("open", (), False), ("keys", (NO_KEYS,), True), ("auto", (), False)]
)
def test_a_plan_without_keys_says_so_where_they_are_asked_for(
    file: Path, auth: str, notes: tuple[str, ...], needs_key: bool
) -> None:
    file.write_text(model() + gateway("door", auth={"mode": auth}))
    planned = plan.plan_fleet([file])
    assert (planned.needs_key, planned.notes) == (needs_key, notes)


def test_several_files_are_one_fleet(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(model("a"))
    (tmp_path / "b.yaml").write_text(model("b"))
    planned = plan.plan_fleet([tmp_path / "a.yaml", tmp_path / "b.yaml"])
    assert [each.name for each in planned.models] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (gateway("door"), FleetError, "no model in"),
        (model() + gateway("a") + gateway("b"), Exception, "ModelGateway"),
        (model(hardware={"gpu": "H100"}), FleetError, "model demo asks for the GPU H100, and no GPU answers"),
        (model(source="hf//x"), spec.SpecError, "1 problem found"),
        (model(engine={"version": "0.1.0"}), planner.PlanError, "Remuda does not know vLLM 0.1.0"),
        (model() + gateway("door", listen={"host": "0.0.0.0"}), GatewayError, "refusing to listen on 0.0.0.0:8080"),
    ],
    ids=["no-model", "two-gateways", "no-gpu", "shape", "sense", "exposure"],
)
def test_what_cannot_run_is_refused_before_anything_starts(
    file: Path, text: str, kind: type[Exception], message: str
) -> None:
    file.write_text(text)
    with pytest.raises(kind) as caught:
        plan.plan_fleet([file])
    assert message in str(caught.value)


def on_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """A machine with H100s that are all linked alike."""
    gpus = tuple(Gpu(index, "NVIDIA H100 80GB HBM3", str(index)) for index in range(count))
    links = {(one, other): 118 for one in range(count) for other in range(one + 1, count)}
    monkeypatch.setattr(plan, "read_machine", lambda: Machine(gpus, links))


def test_the_engines_of_the_example_with_eight_gpus_share_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpus(monkeypatch, 8)
    planned = plan.plan_fleet([EXAMPLES / "h100x8-70b.yaml"])
    assert planned.devices.has_gpu
    given = [planned.devices.plan.of("llama-70b", replica).gpus for replica in range(2)]
    assert given == [("0", "1", "2", "3"), ("4", "5", "6", "7")]
    assert planned.notes[-1] == "GPUs: llama-70b-0 has GPUs 0-3, llama-70b-1 has GPUs 4-7"


def test_too_few_gpus_are_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpus(monkeypatch, 6)
    with pytest.raises(DeviceError) as caught:
        plan.plan_fleet([EXAMPLES / "h100x8-70b.yaml"])
    assert caught.value.message == "llama-70b-1 needs 4 GPUs, and 2 are free: llama-70b-0 holds GPUs 0-3"


def test_two_engines_on_two_cores_get_one_core_each() -> None:
    planned = plan.plan_fleet([EXAMPLES / "two-engines.yaml"])
    (model,) = planned.started
    assert [planned.devices.plan.of(model.name, replica).cores for replica in range(2)] == [(0,), (1,)]


def test_a_gateway_alone_does_not_look_for_gpus(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "read_machine", None)
    file.write_text(model(source=None, endpoints=[{"url": "http://127.0.0.1:9"}]).replace("'source': None, ", ""))
    assert plan.plan_fleet([file]).started == ()


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(spec.SpecError, match=r"nowhere\.yaml"):
        plan.plan_fleet([tmp_path / "nowhere.yaml"])


def test_planning_a_fleet_imports_no_http_client():
    """These imports delay the start of `remuda gateway FILE`."""
    code = "import sys, remuda.fleet.plan; print('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
