"""The generated schemas are complete, described, closed, and structural as Kubernetes requires."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from remuda.spec.documents.fields import bare_type, field_docs, walk_fields
from remuda.spec.schemas.crd import crd
from remuda.spec.schemas.json_schema import SHAPES, json_schema, write_value

ROOT = Path(__file__).parents[4]
KINDS = list(SHAPES)


def nodes(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema node of a structural schema."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}.{key}")


def test_generated_files_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "scripts/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_json_schema_is_valid_self_contained_and_closed(kind: str):
    schema = json_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "$ref" not in str(schema)
    for path, node in nodes(schema):
        if "properties" in node:
            assert node["additionalProperties"] is False, path


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_sentence(kind: str):
    for field in walk_fields(SHAPES[kind]):
        doc = field_docs(field.owner).get(field.attribute, "")
        assert len(doc) > 5, field.path
        assert doc.endswith("."), field.path


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_not_converted_to_numbers_or_booleans(kind: str):
    """`replicas: "2"` and `chunkedPrefill: 1` must fail here because they fail in a cluster."""
    for field in walk_fields(SHAPES[kind]):
        if bare_type(field.info.annotation) in {int, float, bool}:
            assert "Strict" in str(field.info.metadata) + str(field.info.annotation), field.path


@pytest.mark.req("K1.structural", level="unit")
@pytest.mark.parametrize("kind", KINDS)
def test_crd_is_structural_and_bounded(kind: str):
    definition = crd(kind)
    (version,) = definition["spec"]["versions"]
    root = version["schema"]["openAPIV3Schema"]
    forbidden = {
        "$ref",
        "$schema",
        "const",
        "default",
        "title",
        "anyOf",
        "propertyNames",
        "patternProperties",
        "uniqueItems",
        "nullable",
    }
    for path, node in nodes(root):
        if node.get("x-kubernetes-int-or-string"):
            assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}], path
            continue
        assert not forbidden & node.keys(), path
        assert not any(key.startswith("x-") and not key.startswith("x-kubernetes-") for key in node), path
        assert "type" in node or node.get("x-kubernetes-preserve-unknown-fields"), path
        assert not (node.get("properties") and node.get("additionalProperties")), path
        assert isinstance(node.get("exclusiveMinimum", True), bool), path
        if path.startswith(".spec"):
            check_bounds(path, node)


def check_bounds(path: str, node: dict[str, Any]) -> None:
    """A schema without bounds exceeds the cost that the API server allows for CEL rules."""
    if node.get("type") == "array":
        assert node["maxItems"] <= 256, path
    if "additionalProperties" in node:
        assert node["maxProperties"] <= 64, path
    if node.get("type") == "string" and "enum" not in node:
        assert node["maxLength"] <= 4096, path


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_has_a_message(kind: str):
    (version,) = crd(kind)["spec"]["versions"]
    for path, node in nodes(version["schema"]["openAPIV3Schema"]):
        for rule in node.get("x-kubernetes-validations", ()):
            assert rule["message"], path
            assert "\n" not in rule["message"]


@pytest.mark.parametrize("kind", KINDS)
def test_patterns_mean_the_same_in_python_and_go(kind: str):
    """Go's regular expressions have no look-around and no back references, and repeat at most 1000 times."""
    for path, node in nodes(json_schema(kind)):
        pattern = node.get("pattern", "")
        assert not re.search(r"\(\?|\\[1-9]|\\d|\\w|\\s", pattern), path
        assert all(int(count) <= 1000 for count in re.findall(r"[{,]([0-9]+)\}", pattern)), path
        assert not pattern or (pattern.startswith("^") and pattern.endswith("$")), path


def test_the_schema_states_the_defaults():
    schema = json_schema("Model")
    engine = schema["properties"]["spec"]["properties"]["engine"]["properties"]
    assert engine["maxNumSeqs"]["default"] == 256
    assert engine["startupTimeout"]["default"] == "10m"
    assert "default" not in engine["maxModelLen"]


def test_shapes_are_frozen():
    for kind in KINDS:
        for field in walk_fields(SHAPES[kind]):
            assert issubclass(field.owner, BaseModel)
            assert field.owner.model_config["frozen"] is True
            assert field.owner.model_config["extra"] == "forbid"


@pytest.mark.parametrize("kind", KINDS)
def test_cel_has_the_defaults_of_the_fields(kind: str):
    """A CEL rule cannot read defaults, so it repeats them: `has(self.max) ? self.max : 10`."""
    shapes = {SHAPES[kind], *(field.owner for field in walk_fields(SHAPES[kind]))}
    for shape in shapes:
        fields = {info.alias or name: info for name, info in shape.model_fields.items()}
        for rule in shape.rules:
            for name, literal in re.findall(r"has\(self\.(\w+)\) \? self\.\1 : ([^ )]+)", rule.cel):
                default = write_value(fields[name].get_default(call_default_factory=True))
                assert literal.strip("'") == str(default), (shape.__name__, name)
