"""Renders CustomResourceDefinitions: the JSON Schema in the narrower language of the Kubernetes API server.

A structural schema has no references, `const`, unions with null, numeric exclusive bounds, property names or pattern
properties. Every size is bounded, so that the cost of the CEL rules stays within the API server's budget. Rules over
several fields become CEL with Remuda's messages. The schema has no defaults: Remuda applies defaults when it reads an
object, so that a better default reaches old objects too. This module does not know what a cluster does with an object.
"""

from __future__ import annotations

from typing import Any, Final

from remuda.spec.documents.fields import shape_of
from remuda.spec.documents.shape import NAME_PATTERN, Rule, Shape
from remuda.spec.schemas.json_schema import SHAPES, Kind, Schema, describe

GROUP: Final = "remuda.dev"
VERSION: Final = "v1alpha1"
_PLURALS: Final = {"Model": "models", "ModelGateway": "modelgateways", "Tenant": "tenants"}
_SHORT: Final = {"Model": ["mdl"], "ModelGateway": ["mgw"], "Tenant": []}
_KEPT: Final[tuple[str, ...]] = (
    "type", "description", "enum", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems",
    "maxItems", "maxProperties", "required",
)  # fmt: skip
MAX_ITEMS: Final = 256
MAX_LENGTH: Final = 4096


def crd(kind: Kind) -> Schema:
    """The CustomResourceDefinition of a kind, ready for `kubectl apply`."""
    plural = _PLURALS[kind]
    names = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        "categories": ["remuda"],
    }
    if _SHORT[kind]:
        names["shortNames"] = _SHORT[kind]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "remuda"}},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [_version(kind)]},
    }


def _version(kind: Kind) -> Schema:
    subresources: Schema = {"status": {}}
    if kind == "Model":
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root(kind)},
        "subresources": subresources,
        "additionalPrinterColumns": _COLUMNS[kind],
    }


def _column(name: str, path: str, kind: str = "string") -> Schema:
    return {"name": name, "type": kind, "jsonPath": path}


_AGE: Final = _column("Age", ".metadata.creationTimestamp", "date")
_READY: Final = _column("Ready", '.status.conditions[?(@.type=="Ready")].status')
_COLUMNS: Final[dict[str, list[Schema]]] = {
    "Model": [_column("Source", ".spec.source"), _column("Replicas", ".status.replicas", "integer"), _READY, _AGE],
    "ModelGateway": [_column("Port", ".spec.listen.port", "integer"), _READY, _AGE],
    "Tenant": [_column("Disabled", ".spec.disabled", "boolean"), _AGE],
}


def _root(kind: Kind) -> Schema:
    shape = SHAPES[kind]
    described = describe(shape)
    spec_shape = shape_of(shape.model_fields["spec"].annotation)
    assert spec_shape is not None
    name = {"type": "string", "maxLength": 63, "pattern": NAME_PATTERN}
    return {
        "type": "object",
        "description": described["description"],
        "required": ["metadata", *(["spec"] if shape.model_fields["spec"].is_required() else [])],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": convert(described["properties"]["spec"], spec_shape),
            "status": {
                "type": "object",
                "description": "The state that the operator observed. Only the operator writes it.",
                "x-kubernetes-preserve-unknown-fields": True,
                "properties": {
                    "replicas": {"type": "integer", "format": "int32"},
                    "selector": {"type": "string"},
                    "observedGeneration": {"type": "integer", "format": "int64"},
                },
            },
        },
    }


def convert(schema: Schema, shape: type[Shape] | None = None) -> Schema:
    """One node of the JSON Schema as a node of a structural schema. `shape` is the class of an object, if there is
    one."""
    if _is_int_or_text(schema):
        return _int_or_text(schema)
    if "type" not in schema and "enum" not in schema:
        return {"x-kubernetes-preserve-unknown-fields": True}
    node = {key: schema[key] for key in _KEPT if key in schema}
    rules = [_validation(rule) for rule in (shape.rules if shape and "properties" in schema else ())] + _amount_rules(
        schema
    )
    match node.get("type"):
        case "object":
            rules += _convert_object(schema, node, shape)
        case "array":
            _convert_array(schema, node, shape)
        case "string" if "enum" not in node:
            node.setdefault("maxLength", MAX_LENGTH)
    _convert_bounds(schema, node)
    if rules:
        node["x-kubernetes-validations"] = rules
    return node


def _convert_object(schema: Schema, node: Schema, shape: type[Shape] | None) -> list[Schema]:
    """Convert the fields of an object, or a map with a bounded size. A pattern for names becomes a CEL rule."""
    if shape is not None and "properties" in schema:
        infos = {info.alias or name: info for name, info in shape.model_fields.items()}
        node["properties"] = {
            name: convert(part, shape_of(infos[name].annotation)) for name, part in schema["properties"].items()
        }
        return []
    names = schema.get("propertyNames", {})
    values = schema.get("additionalProperties", True)
    value = convert(values if isinstance(values, dict) else {})
    if "enum" in names:
        node["properties"] = dict.fromkeys(names["enum"], value)
        node.pop("maxProperties", None)
        return []
    node["additionalProperties"] = value
    node.setdefault("maxProperties", 64)
    if "pattern" not in names:
        return []
    rule = f"self.all(name, size(name) <= 63 && name.matches({_quote(names['pattern'])}))"
    return (
        [{"rule": rule, "message": "a name in this mapping does not have the right form"}] if _is_typed(value) else []
    )


def _is_typed(value: Schema) -> bool:
    """Whether the values of a map have a type. CEL rules can read only such maps."""
    return "type" in value


def _convert_array(schema: Schema, node: Schema, shape: type[Shape] | None) -> None:
    node["items"] = convert(schema["items"], shape)
    node.setdefault("maxItems", MAX_ITEMS)
    if schema.get("uniqueItems"):
        node["x-kubernetes-list-type"] = "set"
    elif key := schema.get("x-unique-by"):
        node |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def _convert_bounds(schema: Schema, node: Schema) -> None:
    """Write exclusive bounds as OpenAPI 3.0 does: `minimum: 0, exclusiveMinimum: true`."""
    for side in ("minimum", "maximum"):
        exclusive = "exclusive" + side.capitalize()
        if exclusive in schema:
            node |= {side: schema[exclusive], exclusive: True}
    if node.get("type") == "integer":
        node["format"] = "int64" if node.get("maximum", 2**31) > 2**31 - 1 else "int32"


def _is_int_or_text(schema: Schema) -> bool:
    return [choice.get("type") for choice in schema.get("anyOf", ())] == ["integer", "string"]


def _int_or_text(schema: Schema) -> Schema:
    text = schema["anyOf"][1]
    node: dict[str, Any] = {
        "description": schema["description"],
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
        "pattern": text["pattern"],
        "maxLength": text["maxLength"],
    }
    rules = _amount_rules(schema)
    return node | ({"x-kubernetes-validations": rules} if rules else {})


def _amount_rules(schema: Schema) -> list[Schema]:
    """The bounds of durations and quantities, as CEL rules."""
    rules = []
    duration = schema.get("type") == "string"
    for key, words, sign in (("x-at-least", "at least", ">="), ("x-at-most", "at most", "<=")):
        if (bound := schema.get(key)) is None:
            continue
        if duration:
            rule = f"duration(self) {sign} duration('{bound}')"
        else:
            rule = f"quantity(string(self)).compareTo(quantity('{bound}')) {sign} 0"
        rules.append({"rule": rule, "message": f"must be {words} {bound}"})
    return rules


def _validation(rule: Rule) -> Schema:
    message = f"{rule.message}; {rule.hint}" if rule.hint else rule.message
    return {"rule": rule.cel, "message": message}


def _quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
