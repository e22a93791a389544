"""On one machine, each field that only Kubernetes honours gets one warning."""

import pytest
from pydantic.alias_generators import to_camel

from remuda import planner, spec
from remuda.planner.kubernetes_only import ONLY_ON_KUBERNETES
from remuda.spec.documents.fields import field_docs, walk_fields

HEAD = "apiVersion: remuda.dev/v1alpha1\nkind: Model\nmetadata: {name: m}\nspec:\n  source: demo://remuda-demo\n"
NO_EFFECT = "has no effect on one machine, only on Kubernetes"

CASES = [
    pytest.param("  rollout: {maxSurge: 2}", "6:12", "rollout", NO_EFFECT, id="rollout"),
    pytest.param("  weights: {delivery: pvc}", "6:12", "weights", NO_EFFECT, id="weights"),
    pytest.param("  hardware: {gpu: L4, gpuMemory: 20Gi}", "6:34", "hardware.gpuMemory", NO_EFFECT, id="gpuMemory"),
    pytest.param("  hardware: {memory: 4Gi}", "6:22", "hardware.memory", NO_EFFECT, id="memory"),
    pytest.param("  hardware: {shm: 1Gi}", "6:19", "hardware.shm", NO_EFFECT, id="shm"),
    pytest.param("  engine: {image: a/b:1}", "6:19", "engine.image", NO_EFFECT, id="image"),
    pytest.param(
        "  scaling: {max: 3}",
        "6:12",
        "scaling",
        "has no effect on one machine: 1 engine is started, whatever the load",
        id="scaling",
    ),
    pytest.param(
        "  scaling: {min: 2}",
        "6:12",
        "scaling",
        "has no effect on one machine: 2 engines are started, whatever the load",
        id="scaling from two",
    ),
    pytest.param(
        "  replicas: 3\n  scaling: {min: 0}",
        "7:12",
        "scaling",
        "has no effect on one machine: 3 engines are started, whatever the load",
        id="scaling beside replicas",
    ),
    pytest.param(
        "  scaling: {min: 0}",
        "6:18",
        "scaling.min",
        "with min: 0 no engine is started on one machine, and nothing answers",
        id="scaling from nothing",
    ),
    pytest.param(
        "  engine: {parallel: {tensor: 2, nodes: 2}}",
        "6:41",
        "engine.parallel.nodes",
        "an engine over 2 machines cannot run on one",
        id="nodes",
    ),
]


def load(text: str) -> spec.Loaded:
    return spec.load_bytes((HEAD + text + "\n").encode(), "m.yaml")


@pytest.mark.parametrize(("text", "position", "path", "message"), CASES)
def test_a_field_without_effect_gets_one_warning_with_its_position(text: str, position: str, path: str, message: str):
    (problem,) = planner.check_all(load(text), one_machine=True)
    assert str(problem).splitlines()[0] == f"m.yaml:{position}: warning: spec.{path}: {message}"


@pytest.mark.parametrize("text", [case.values[0] for case in CASES], ids=[case.id for case in CASES])
def test_there_is_no_such_warning_for_a_cluster(text: str):
    assert planner.check_all(load(text)) == ()


def test_a_field_at_its_default_gets_no_warning():
    assert planner.check_all(load("  replicas: 2"), one_machine=True) == ()


def test_an_engine_over_several_machines_is_an_error_on_this_machine():
    loaded = load("  engine: {parallel: {tensor: 2, nodes: 2}}")
    (problem,) = planner.check_all(loaded, "cuda", one_machine=True)
    assert problem.severity == "error"


def test_every_field_documented_as_kubernetes_only_gets_the_warning():
    paths = [
        field.path for field in walk_fields(spec.Model) if "Kubernetes only" in field_docs(field.owner)[field.attribute]
    ]
    named = {("spec", *map(to_camel, place.split("."))) for place in ONLY_ON_KUBERNETES}
    assert [path for path in paths if not any(path[: len(name)] == name for name in named)] == []
    assert len(paths) > 5
