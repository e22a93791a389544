"""`kind: Tenant`: who may use the gateway, with which keys, for which models.

Does: declare the fields. Does not know: how keys are made or checked (the gateway does); a key itself is never in a
file, only its hash.
Called by: the gateway's composition roots and `remuda tenant`.
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
    """`2027-01-31T00:00:00Z` → an aware datetime in UTC."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC)
    if isinstance(value, str) and re.fullmatch(INSTANT_PATTERN, value):
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    hint = "write date, time and zone, for example 2027-01-31T00:00:00Z"
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        hint = f"say the moment and the zone: {value}T00:00:00Z is the first second of that day"
    raise PydanticCustomError("own", "{text}", {"text": "{shown} is not a moment in time", "hint": hint})


Instant = Annotated[
    datetime,
    BeforeValidator(parse_instant),
    PlainSerializer(lambda moment: moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": INSTANT_PATTERN, "maxLength": 25}),
]


class KeyHash(Shape):
    """One API key of a tenant. Several may be valid at once, so that a key can be changed without an outage."""

    name: Name
    """A name for the key, shown in logs and lists."""
    hash: Annotated[str, Field(pattern=KEY_HASH_PATTERN, max_length=71)]
    """`sha256:` and the SHA-256 of the key in hexadecimal; `remuda tenant create` makes both."""
    expires: Instant | None = None
    """From this moment on the key is refused."""


class TenantSpec(Shape):
    """Keys and rights of a tenant."""

    keys: Annotated[tuple[KeyHash, ...], Field(max_length=64), Unique("name")] = ()
    """Its API keys, as hashes."""
    models: Annotated[tuple[ServedName, ...], Field(max_length=256), Unique()] = ()
    """Names of the models it may use (served name, alias or adapter); empty means all."""
    disabled: Flag = False
    """Refuse all its keys."""


class Tenant(Document):
    """Somebody who may use the gateway."""

    kind: Literal["Tenant"] = "Tenant"
    """Always `Tenant`."""
    spec: TenantSpec = TenantSpec.model_construct()
    """Keys and rights."""
