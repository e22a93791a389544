"""The base of all declared objects, and the small types that their fields share.

Every object is frozen, refuses unknown fields, and has camelCase names in files and snake_case names in Python. The
text below a field is its documentation: the reference page, the JSON Schema and the CRD show it. This module does not
know models, gateways or tenants, or positions in a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, core_schema

from remuda.spec.documents.source import SOURCE_PATTERN, SourceError, parse_source

API_VERSION = "remuda.dev/v1alpha1"

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
SERVED_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,254}$"
FILE_PATH_PATTERN = r"^/[^\x00-\x1f]*$"
ENV_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,254}$"


def _check_source(text: str) -> str:
    try:
        parse_source(text)
    except SourceError as error:
        raise PydanticCustomError("own", "{text}", {"text": error.message, "hint": error.hint}) from None
    return text


Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=63)]
ServedName = Annotated[str, Field(pattern=SERVED_NAME_PATTERN, max_length=255)]
SourceText = Annotated[
    str,
    Field(min_length=1, max_length=2048),
    AfterValidator(_check_source),
    WithJsonSchema({"type": "string", "pattern": SOURCE_PATTERN, "maxLength": 2048}),
]
EnvName = Annotated[str, Field(pattern=ENV_PATTERN, max_length=255)]
FilePath = Annotated[str, Field(pattern=FILE_PATH_PATTERN, max_length=4096)]


@dataclass(frozen=True, slots=True)
class Unique:
    """Requires that the items of a list differ, as a whole or in the field `by`.

    Use it as field metadata: `Annotated[tuple[X, ...], Unique("name")]`.
    """

    by: str = ""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | ({"x-unique-by": self.by} if self.by else {"uniqueItems": True})

    def check(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        """Refuse the first item that repeats an earlier one."""
        seen: dict[Any, int] = {}
        for number, item in enumerate(items):
            key = getattr(item, self.by) if self.by else item
            if key in seen:
                at = (number, self.by) if self.by else (number,)
                words = {
                    "text": "{shown} is in this list twice",
                    "hint": f"the first is item {seen[key] + 1}",
                    "at": at,
                }
                raise PydanticCustomError("own", "{text}", words)
            seen[key] = number
        return items


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of a plain number, for the reference page and for `x-unit` in the schema."""

    text: str

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"x-unit": self.text}


class Shape(BaseModel):
    """Base class of every object in a file."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        defer_build=True,
        hide_input_in_errors=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """Rules over several fields. They are checked in Python here and as CEL by the API server."""

    @model_validator(mode="after")
    def _check_rules(self) -> Shape:
        for rule in self.rules:
            if not rule.holds(self):
                raise PydanticCustomError("rule", "{text}", {"text": rule.message, "hint": rule.hint, "at": rule.at})
        return self

    def has(self, field: str) -> bool:
        """Whether the file contains this field, rather than its default."""
        return field in self.model_fields_set and getattr(self, field) is not None


class Rule:
    """A rule over several fields of one object: as CEL, as a Python function, and as a message with a hint."""

    __slots__ = ("at", "cel", "hint", "holds", "message")

    def __init__(self, cel: str, holds: Callable[[Any], bool], message: str, *, hint: str = "", at: str = "") -> None:
        self.cel = cel
        self.holds = holds
        self.message = message
        self.hint = hint
        self.at = (at,) if at else ()


def exactly_one(*fields: str, message: str, hint: str = "") -> Rule:
    """A rule that exactly one of these optional fields is written."""
    terms = " + ".join(f"(has(self.{to_camel(field)}) ? 1 : 0)" for field in fields)
    return Rule(f"{terms} == 1", lambda shape: sum(shape.has(field) for field in fields) == 1, message, hint=hint)


class Metadata(Shape):
    """Metadata of the object, as in Kubernetes. Entries that the cluster writes (`uid`, `managedFields` …) do not
    belong in a file."""

    name: Name
    """The object's name, of lower-case letters, digits and hyphens, because Kubernetes uses it in DNS names."""
    namespace: Name | None = None
    """The Kubernetes namespace. It has no effect on one machine."""
    labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=64)] = {}
    """Labels. Remuda copies them to every object that it creates in the cluster."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=64)] = {}
    """Annotations. Remuda neither reads nor changes them."""


class SecretRef(Shape):
    """A reference to a secret. The secret itself is never written in a file, because files are committed and mailed."""

    rules: ClassVar = (
        exactly_one(
            "env",
            "file",
            "secret",
            message="a secret reference names exactly one place",
            hint="write one of env, file, or secret with key",
        ),
        Rule(
            "has(self.secret) == has(self.key)",
            lambda ref: ref.has("secret") == ref.has("key"),
            "secret and key are only valid together",
            hint="secret is the name of a Kubernetes Secret, and key is an entry in it",
        ),
    )

    env: EnvName | None = None
    """Name of the environment variable of the `remuda` process that holds the secret."""
    file: FilePath | None = None
    """Absolute path of the file that holds the secret. White space around the secret is ignored."""
    secret: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", max_length=253)] | None = None
    """Name of the Kubernetes Secret, in the object's namespace."""
    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}$", max_length=253)] | None = None
    """Entry of the Kubernetes Secret that holds the secret."""


class Document(Shape):
    """Base class of every kind of document."""

    api_version: Literal["remuda.dev/v1alpha1"] = "remuda.dev/v1alpha1"
    """The version of this file format."""
    metadata: Metadata
    """Name, namespace, labels and annotations."""

    @property
    def name(self) -> str:
        """The object's name (`metadata.name`)."""
        return self.metadata.name
