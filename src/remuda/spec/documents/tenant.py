"""`kind: Tenant`: a client of the gateway, its API keys, and the models it may use.

A file holds only the hash of a key, never the key itself. This module does not know how keys are created or checked.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from remuda.spec.documents.shape import Document, Flag, Name, ServedName, Shape, Unique

INSTANT_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})$"
KEY_HASH_PATTERN = r"^sha256:[0-9a-f]{64}$"


def parse_instant(value: object) -> datetime:
    """Parse `2027-01-31T00:00:00Z` into an aware datetime in UTC."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC)
    if isinstance(value, str) and re.fullmatch(INSTANT_PATTERN, value):
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    hint = "write date, time and zone, for example 2027-01-31T00:00:00Z"
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        hint = f"add time and zone: {value}T00:00:00Z is the first second of that day"
    raise PydanticCustomError("own", "{text}", {"text": "{shown} is not a point in time", "hint": hint})


Instant = Annotated[
    datetime,
    BeforeValidator(parse_instant),
    PlainSerializer(lambda moment: moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": INSTANT_PATTERN, "maxLength": 25}),
]


class KeyHash(Shape):
    """One API key of a tenant. Several keys can be valid at once, so that a key can be replaced without an outage."""

    name: Name
    """A name for the key. Logs and lists show it."""
    hash: Annotated[str, Field(pattern=KEY_HASH_PATTERN, max_length=71)]
    """`sha256:` and the SHA-256 of the key in hexadecimal. `remuda tenant create` creates a key and its hash."""
    expires: Instant | None = None
    """The time from which the key is refused; by default never."""


class TenantSpec(Shape):
    """The keys and rights of a tenant."""

    keys: Annotated[tuple[KeyHash, ...], Field(max_length=64), Unique("name")] = ()
    """Its API keys, as hashes."""
    models: Annotated[tuple[ServedName, ...], Field(max_length=256), Unique()] = ()
    """Names of the models that it may use (served names, aliases or adapters). An empty list means all models."""
    disabled: Flag = False
    """Refuse all its keys."""


class Tenant(Document):
    """A client that may use the gateway."""

    kind: Literal["Tenant"] = "Tenant"
    """Always `Tenant`."""
    spec: TenantSpec = TenantSpec.model_construct()
    """The keys and rights of the tenant."""
