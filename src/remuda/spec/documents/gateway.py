"""`kind: ModelGateway`: the address clients use, and its limits.

Does: declare the fields. Does not know: how the gateway works; it turns this into its own settings.
Called by: whoever starts a gateway. (Not called Gateway: that kind belongs to the Kubernetes Gateway API.)
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from remuda.spec.documents.quantity import AtLeast, AtMost, Bytes, Duration
from remuda.spec.documents.shape import Document, FilePath, Flag, Number, Rule, Shape, Unique, Unit, Whole

Wait = Annotated[Duration, AtLeast("1ms"), AtMost("24h")]
FIELD_NAME_PATTERN = r"^[a-z_][a-z0-9_]*$"
ORIGIN_PATTERN = r"^(\*|https?://[A-Za-z0-9.:-]+)$"
FieldName = Annotated[str, Field(pattern=FIELD_NAME_PATTERN, max_length=63)]


class Tls(Shape):
    """Certificate of the gateway."""

    cert_file: FilePath
    """Absolute path of the certificate chain (PEM)."""
    key_file: FilePath
    """Absolute path of its private key (PEM)."""


class Listen(Shape):
    """Where the gateway listens."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$", max_length=253)] = "127.0.0.1"
    """Address to listen on. Anything but loopback needs API keys, or `auth.mode: open`."""
    port: Annotated[Whole, Field(ge=0, le=65_535)] = 8080
    """Port to listen on; 0 takes a free one."""
    tls: Tls | None = None
    """Serve HTTPS with this certificate."""


class Auth(Shape):
    """Who may use the gateway."""

    mode: Literal["auto", "keys", "open"] = "auto"
    """`keys` asks for an API key of a Tenant; `open` asks nobody; `auto` is `keys` as soon as there is a Tenant, else
    open on loopback, and refuses to listen elsewhere."""


class Cors(Shape):
    """Browsers that may call the gateway."""

    origins: Annotated[
        tuple[Annotated[str, Field(pattern=ORIGIN_PATTERN, max_length=253)], ...],
        Field(max_length=64),
    ] = ()
    """Origins allowed to call from a page, for example `https://app.example.org`; `*` allows all."""


class Limits(Shape):
    """What one client can make the gateway hold in memory."""

    body_size: Annotated[Bytes, AtLeast("1Ki"), AtMost("1Gi")] = Bytes("50Mi")
    """Largest request body; larger is refused with 413 before it is read."""
    header_size: Annotated[Bytes, AtLeast("1Ki"), AtMost("1Mi")] = Bytes("32Ki")
    """Largest request head (line and headers together)."""
    connections: Annotated[Whole, Field(ge=1, le=1_000_000), Unit("connections")] = 20_000
    """Most client connections at once."""
    requests_in_flight: Annotated[Whole, Field(ge=1, le=1_000_000), Unit("requests")] = 10_000
    """Most requests being answered at once; more are refused with 429."""


class Timeouts(Shape):
    """How long the gateway waits."""

    connect: Wait = Duration("2s")
    """For an engine to accept a connection."""
    header: Wait = Duration("30s")
    """For a client to send the head of a request."""
    body: Wait = Duration("60s")
    """Between two pieces of a request's body."""
    first_byte: Wait = Duration("600s")
    """For the first byte of an answer; prompts queue and long ones take time."""
    idle: Wait = Duration("300s")
    """Between two pieces of an answer; a long stream that keeps moving is never cut."""
    keep_alive: Wait = Duration("75s")
    """For the next request on an idle client connection."""
    drain: Annotated[Duration, AtMost("24h")] = Duration("30s")
    """For running requests when the gateway stops."""


class Logging(Shape):
    """What the gateway writes to its log. Prompts are never in it."""

    format: Literal["human", "json"] = "human"
    """Lines for people or JSON for machines."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important line that is written."""
    access: Flag = True
    """One line per request."""


class ClientFields(Shape):
    """Request fields with power over others (priority, media addresses, chat templates …); refused from clients
    unless allowed."""

    allow: Annotated[tuple[FieldName, ...], Field(max_length=64), Unique()] = ()
    """Fields clients may send although they are refused by default, for example `priority`."""
    deny: Annotated[tuple[FieldName, ...], Field(max_length=64), Unique()] = ()
    """Fields clients may not send although they are allowed by default, for example `n`."""


class Retries(Shape):
    """Second attempts on another engine, before the first byte of an answer."""

    attempts: Annotated[Whole, Field(ge=1, le=10), Unit("attempts")] = 3
    """Most attempts for one request, the first included; 1 switches retries off."""
    budget_ratio: Annotated[Number, Field(ge=0, le=1), Unit("share")] = 0.2
    """Retries allowed per request, over all requests, so that a failing fleet is not hit harder."""


class Health(Shape):
    """How engines are watched."""

    rules: ClassVar = (
        Rule(
            "duration(has(self.timeout) ? self.timeout : '2s') <= duration(has(self.interval) ? self.interval : '2s')",
            lambda health: health.timeout <= health.interval,
            "timeout is longer than interval",
            hint="a check must end before the next one begins",
            at="timeout",
        ),
    )

    interval: Annotated[Duration, AtLeast("50ms"), AtMost("10m")] = Duration("2s")
    """Time between two checks of an engine."""
    timeout: Annotated[Duration, AtLeast("10ms"), AtMost("10m")] = Duration("2s")
    """How long a check may take."""
    failures: Annotated[Whole, Field(ge=1, le=100), Unit("checks")] = 3
    """Failures in a row after which an engine gets no more requests."""
    successes: Annotated[Whole, Field(ge=1, le=100), Unit("checks")] = 2
    """Successes in a row after which it gets them again."""


class GatewaySpec(Shape):
    """Everything about the gateway; every field may be left out."""

    listen: Listen = Listen.model_construct()
    """Where it listens."""
    auth: Auth = Auth.model_construct()
    """Who may use it."""
    cors: Cors = Cors.model_construct()
    """Browsers that may call it."""
    limits: Limits = Limits.model_construct()
    """What a client can make it hold."""
    timeouts: Timeouts = Timeouts.model_construct()
    """How long it waits."""
    logging: Logging = Logging.model_construct()
    """What it logs."""
    client_fields: ClientFields = ClientFields.model_construct()
    """Request fields that need permission."""
    retries: Retries = Retries.model_construct()
    """Second attempts."""
    health: Health = Health.model_construct()
    """How engines are watched."""


class ModelGateway(Document):
    """The address clients use."""

    kind: Literal["ModelGateway"] = "ModelGateway"
    """Always `ModelGateway`."""
    spec: GatewaySpec = GatewaySpec.model_construct()
    """Everything about the gateway."""
