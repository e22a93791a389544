"""Renders the JSON Schema of each kind, for editors and other tools that check a file before Remuda reads it.

It starts from pydantic's schema, resolves every reference, drops null and titles, and adds the documentation of each
field. It does not know Kubernetes.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic.fields import FieldInfo

from remuda.spec.documents.fields import field_docs, shape_of
from remuda.spec.documents.gateway import ModelGateway
from remuda.spec.documents.model import Model
from remuda.spec.documents.shape import Document, Shape
from remuda.spec.documents.tenant import Tenant

Kind = Literal["Model", "ModelGateway", "Tenant"]
Schema = dict[str, Any]
SHAPES: dict[str, type[Document]] = {"Model": Model, "ModelGateway": ModelGateway, "Tenant": Tenant}
DIALECT = "https://json-schema.org/draft/2020-12/schema"
BASE_URL = "https://remuda.dev/schema/"


def json_schema(kind: Kind) -> Schema:
    """The JSON Schema of a kind. It has no references, every object is closed, and every field has a description."""
    shape = SHAPES[kind]
    schema = describe(shape)
    schema["required"] = [
        "apiVersion",
        "kind",
        "metadata",
        *(["spec"] if shape.model_fields["spec"].is_required() else []),
    ]
    schema["properties"]["apiVersion"].pop("default", None)
    schema["properties"]["kind"].pop("default", None)
    return {"$schema": DIALECT, "$id": f"{BASE_URL}{kind.lower()}.json", "title": kind} | schema


def describe(shape: type[Shape]) -> Schema:
    """The schema of one class, without the parts that only a whole document has."""
    raw = shape.model_json_schema(by_alias=True, mode="validation")
    schema: Schema = _resolve(raw, raw.get("$defs", {}))
    schema.pop("$defs", None)
    _add_docs(schema, shape)
    return schema


def _resolve(node: Any, definitions: Schema) -> Any:  # noqa: ANN401  JSON
    """The schema with references resolved, and without null alternatives and titles."""
    if isinstance(node, list):
        return [_resolve(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        node = target | {key: value for key, value in node.items() if key != "$ref"}
    resolved = {key: _resolve(value, definitions) for key, value in node.items() if not _is_noise(key, value)}
    return _without_null(_close_map(resolved))


def _close_map(schema: Schema) -> Schema:
    """Move a pattern for the names of a map to `propertyNames`. Otherwise names that do not match would be accepted."""
    patterns = schema.pop("patternProperties", None)
    if not patterns:
        return schema
    ((pattern, values),) = patterns.items()
    names = schema.get("propertyNames", {}) | {"pattern": pattern}
    return schema | {"propertyNames": names, "additionalProperties": values or True}


def _is_noise(key: str, value: Any) -> bool:  # noqa: ANN401  JSON
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)


def _without_null(schema: Schema) -> Schema:
    if "const" in schema:
        schema = {"type": "string", "enum": [schema["const"]]} | {
            k: v for k, v in schema.items() if k not in {"const", "type"}
        }
    choices = schema.get("anyOf")
    if choices is None or {"type": "null"} not in choices:
        return schema
    rest = [choice for choice in choices if choice != {"type": "null"}]
    outer = {key: value for key, value in schema.items() if key != "anyOf"}
    return outer | rest[0] if len(rest) == 1 else outer | {"anyOf": rest}


def _add_docs(schema: Schema, shape: type[Shape]) -> None:
    docs = field_docs(shape)
    for name, info in shape.model_fields.items():
        part = schema["properties"][info.alias or name]
        below = shape_of(info.annotation)
        if below is not None:
            _add_docs(_object_in(part), below)
        part["description"] = docs[name]
        if shows_default(info):
            part["default"] = write_value(info.get_default(call_default_factory=True))
        else:
            part.pop("default", None)


def _object_in(part: Schema) -> Schema:
    """The object schema of a property: the property itself, its items or its values."""
    if part.get("type") == "array":
        return part["items"]  # type: ignore[no-any-return]
    if isinstance(part.get("additionalProperties"), dict):
        return part["additionalProperties"]  # type: ignore[no-any-return]
    return part


def shows_default(info: FieldInfo) -> bool:
    """Whether the default of a field is shown: not if it is an object, an empty list or null."""
    if info.is_required():
        return False
    value = info.get_default(call_default_factory=True)
    return not (value is None or isinstance(value, (Shape, dict)) or value == ())


def write_value(value: object) -> object:
    """A default as a file would contain it."""
    if isinstance(value, tuple):
        return [write_value(item) for item in value]
    return getattr(value, "text", value)
