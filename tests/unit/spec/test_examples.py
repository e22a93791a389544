"""Every example loads, passes all checks, and holds what its name says."""

from pathlib import Path

import pytest

from remuda import planner, spec

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = ["laptop", "two-engines", "existing-engines", "l4-8b", "h100x8-70b", "adapters"]


def test_every_example_is_tested():
    assert sorted(path.stem for path in EXAMPLES.glob("*.yaml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", [None, "cpu", "cuda"])
def test_an_example_loads_and_passes_all_checks(name: str, variant: planner.Variant | None):
    loaded = spec.load_files([EXAMPLES / f"{name}.yaml"])
    assert len(loaded.models) == 1
    assert planner.check_all(loaded, variant) == ()


@pytest.mark.parametrize("name", ["laptop", "two-engines", "existing-engines", "h100x8-70b", "adapters"])
def test_example_for_one_machine_has_no_field_without_effect_there(name: str):
    loaded = spec.load_files([EXAMPLES / f"{name}.yaml"])
    assert planner.check_all(loaded, one_machine=True) == ()
    for model in loaded.models:
        for reference in (model.spec.source_token, *(endpoint.api_key for endpoint in model.spec.endpoints or ())):
            assert reference is None or reference.secret is None, "a machine cannot read a Kubernetes Secret"


def test_laptop_listens_on_loopback_and_serves_the_demo():
    loaded = spec.load_files([EXAMPLES / "laptop.yaml"])
    (gateway,), (model,) = loaded.gateways, loaded.models
    assert (gateway.spec.listen.host, gateway.spec.listen.port) == ("127.0.0.1", 8080)
    assert model.spec.source == "demo://remuda-demo"
    assert model.spec.engine.kv_cache_memory == 64 * 2**20
    assert [adapter.name for adapter in model.spec.engine.adapters] == ["pirate", "haiku"]


def test_the_example_with_eight_gpus_uses_all_of_them():
    model = spec.load_files([EXAMPLES / "h100x8-70b.yaml"]).models[0].spec
    assert model.start_replicas * model.engine.parallel.gpus == 8
