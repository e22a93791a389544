"""The rules every part of a file follows, and the small types its fields share.

Does: camelCase in files and snake_case in Python, frozen, no unknown field; names, references to secrets, counts.
Does not know: models, gateways or tenants; positions in a file.
Called by: the modules that declare a kind. Text below a field is its documentation: the reference page, the JSON Schema and the CRD show it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

API_VERSION = "remuda.dev/v1alpha1"

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
SERVED_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,254}$"
ENV_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,254}$"

Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=63)]
ServedName = Annotated[str, Field(pattern=SERVED_NAME_PATTERN, max_length=255)]
EnvName = Annotated[str, Field(pattern=ENV_PATTERN, max_length=255)]
FilePath = Annotated[str, Field(pattern=r"^/[^\x00-\x1f]*$", max_length=4096)]


class Shape(BaseModel):
    """Base of everything that can be written in a file."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        defer_build=True,
        hide_input_in_errors=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """Rules over several fields, checked here and, as CEL, by the API server."""

    @model_validator(mode="after")
    def _check_rules(self) -> Shape:
        for rule in self.rules:
            if not rule.holds(self):
                raise PydanticCustomError("rule", "{text}", {"text": rule.message, "hint": rule.hint, "at": rule.at})
        return self

    def has(self, field: str) -> bool:
        """Whether the author wrote this field (as opposed to a default)."""
        return field in self.model_fields_set and getattr(self, field) is not None


class Rule:
    """A rule over several fields of one object: its CEL text, its Python form, and the words for a user."""

    __slots__ = ("at", "cel", "hint", "holds", "message")

    def __init__(self, cel: str, holds: Any, message: str, *, hint: str = "", at: str = "") -> None:
        self.cel = cel
        self.holds = holds
        self.message = message
        self.hint = hint
        self.at = at


def exactly_one(*fields: str, message: str, hint: str = "") -> Rule:
    """Exactly one of these optional fields is written."""
    terms = " + ".join(f"(has(self.{to_camel(field)}) ? 1 : 0)" for field in fields)
    return Rule(f"{terms} == 1", lambda shape: sum(shape.has(field) for field in fields) == 1, message, hint=hint)


def at_most_one(*fields: str, message: str, hint: str = "") -> Rule:
    """No two of these optional fields are written."""
    terms = " + ".join(f"(has(self.{to_camel(field)}) ? 1 : 0)" for field in fields)
    return Rule(
        f"{terms} <= 1",
        lambda shape: sum(shape.has(field) for field in fields) <= 1,
        message,
        hint=hint,
        at=to_camel(fields[-1]),
    )


class Metadata(Shape):
    """What Kubernetes calls the object's metadata; the cluster's own entries (`uid`, `managedFields` …) do not belong in a file."""

    name: Name
    """The object's name: lower-case letters, digits and hyphens, because Kubernetes makes DNS names of it."""
    namespace: Name | None = None
    """The Kubernetes namespace; ignored on one machine."""
    labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=64)] = {}
    """Labels, copied to what Remuda creates in the cluster."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=64)] = {}
    """Annotations; Remuda neither reads nor changes them."""


class SecretRef(Shape):
    """Where a secret is kept. A secret itself never stands in a file: files are committed, mailed and logged."""

    rules: ClassVar = (
        exactly_one(
            "env",
            "file",
            "secret",
            message="a secret is named in exactly one way",
            hint="write one of env, file, or secret with key",
        ),
        Rule(
            "has(self.secret) == has(self.key)",
            lambda ref: ref.has("secret") == ref.has("key"),
            "secret and key belong together",
            hint="secret is the Kubernetes Secret's name, key the entry in it",
        ),
    )

    env: EnvName | None = None
    """Name of an environment variable of the `remuda` process that holds the secret."""
    file: FilePath | None = None
    """Absolute path of a file that holds the secret (surrounding white space is dropped)."""
    secret: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", max_length=253)] | None = None
    """Name of a Kubernetes Secret in the object's namespace."""
    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}$", max_length=253)] | None = None
    """Entry of that Kubernetes Secret."""


class Document(Shape):
    """What every kind has in common."""

    api_version: Literal["remuda.dev/v1alpha1"] = API_VERSION
    """The version of this file format."""
    metadata: Metadata
    """Name, and what Kubernetes keeps beside it."""

    @property
    def name(self) -> str:
        """The object's name (`metadata.name`)."""
        return self.metadata.name
