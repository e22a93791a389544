"""`kind: ModelGateway`: the address that clients use, and the limits and timeouts of the gateway behind it.

Its name is not Gateway, because that kind belongs to the Kubernetes Gateway API. This module does not know how the
gateway works.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from remuda.spec.documents.quantity import AtLeast, AtMost, Bytes, Duration
from remuda.spec.documents.shape import Document, FilePath, Flag, Number, Rule, Shape, Unique, Unit, Whole

Wait = Annotated[Duration, AtLeast("1ms"), AtMost("24h")]
_INTERVAL, _TIMEOUT = "2s", "2s"
"""Defaults that the CEL form of a rule needs too."""
FIELD_NAME_PATTERN = r"^[a-z_][a-z0-9_]*$"
ORIGIN_PATTERN = r"^(\*|https?://[A-Za-z0-9.:-]+)$"
FieldName = Annotated[str, Field(pattern=FIELD_NAME_PATTERN, max_length=63)]


class Tls(Shape):
    """The certificate of the gateway."""

    cert_file: FilePath
    """Absolute path of the certificate chain (PEM)."""
    key_file: FilePath
    """Absolute path of its private key (PEM)."""


class Listen(Shape):
    """Where the gateway listens."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$", max_length=253)] = "127.0.0.1"
    """Address to listen on. Any address except loopback needs API keys, or `auth.mode: open`."""
    port: Annotated[Whole, Field(ge=0, le=65_535)] = 8080
    """Port to listen on. 0 chooses a free port."""
    tls: Tls | None = None
    """Certificate for HTTPS; by default the gateway serves plain HTTP."""


class Auth(Shape):
    """Who may use the gateway."""

    mode: Literal["auto", "keys", "open"] = "auto"
    """`keys` requires an API key of a Tenant. `open` requires no key. `auto` requires keys as soon as there is a
    Tenant; without one, the gateway needs no key and listens only on loopback. Without keys, `auto` refuses requests
    whose Host is not this machine; `open` takes any Host, so behind no proxy a web page can reach it by DNS
    rebinding."""


class Cors(Shape):
    """Web pages whose browsers may call the gateway."""

    origins: Annotated[
        tuple[Annotated[str, Field(pattern=ORIGIN_PATTERN, max_length=253)], ...],
        Field(max_length=64),
    ] = ()
    """Origins of pages that may call the gateway, for example `https://app.example.org`. `*` allows all origins."""


class Limits(Shape):
    """Limits on the memory and connections that clients can take."""

    body_size: Annotated[Bytes, AtLeast("1Ki"), AtMost("1Gi")] = Bytes("50Mi")
    """Largest request body. A larger one is refused with 413 before it is read."""
    header_size: Annotated[Bytes, AtLeast("1Ki"), AtMost("1Mi")] = Bytes("32Ki")
    """Largest request head, request line and headers together."""
    connections: Annotated[Whole, Field(ge=1, le=1_000_000), Unit("connections")] = 20_000
    """Most open client connections."""
    requests_in_flight: Annotated[Whole, Field(ge=1, le=1_000_000), Unit("requests")] = 10_000
    """Most requests that are answered at the same time. Further requests are refused with 429."""


class Timeouts(Shape):
    """The longest times that the gateway waits."""

    connect: Wait = Duration("2s")
    """Time for an engine to accept a connection."""
    header: Wait = Duration("30s")
    """Time for a client to send the head of a request."""
    body: Wait = Duration("60s")
    """Time between two pieces of a request's body."""
    first_byte: Wait = Duration("600s")
    """Time until the first byte of an answer, including the time in the engine's queue."""
    idle: Wait = Duration("300s")
    """Time between two pieces of an answer. A stream of any length continues while pieces arrive."""
    keep_alive: Wait = Duration("75s")
    """Time until the next request on an idle client connection."""
    lame_duck: Annotated[Duration, AtMost("1h")] = Duration("0s")
    """Time for which a stopping gateway still accepts requests while `/ready` answers 503. Load balancers need some
    seconds to notice. 0s is right without a load balancer."""
    drain: Annotated[Duration, AtMost("24h")] = Duration("30s")
    """Time for running requests to finish when the gateway stops."""


class Logging(Shape):
    """The log of the gateway. It never contains prompts or answers."""

    format: Literal["human", "json"] = "human"
    """`human` writes readable lines, `json` one JSON object per line."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is written."""
    access: Flag = True
    """Write one line per request."""


class ClientFields(Shape):
    """Request fields that affect other requests or the engine's host (priority, media addresses, chat templates …).
    They are refused unless they are allowed here."""

    allow: Annotated[tuple[FieldName, ...], Field(max_length=64), Unique()] = ()
    """Fields that clients may send although they are refused by default, for example `priority`."""
    deny: Annotated[tuple[FieldName, ...], Field(max_length=64), Unique()] = ()
    """Fields that clients may not send although they are allowed by default, for example `n`."""


class Retries(Shape):
    """Further attempts on another engine, as long as the client has received no byte of an answer."""

    attempts: Annotated[Whole, Field(ge=1, le=10), Unit("attempts")] = 3
    """Most attempts for one request, the first one included. 1 disables retries."""
    budget_ratio: Annotated[Number, Field(ge=0, le=1), Unit("share")] = 0.2
    """Retries per request, as a mean over all requests. This limits the additional load on failing engines."""


class Health(Shape):
    """Health checks of engines."""

    rules: ClassVar = (
        Rule(
            f"duration(has(self.timeout) ? self.timeout : '{_TIMEOUT}') <= "
            f"duration(has(self.interval) ? self.interval : '{_INTERVAL}')",
            lambda health: health.timeout <= health.interval,
            "timeout is longer than interval",
            hint="a check must end before the next one begins",
            at="timeout",
        ),
    )

    interval: Annotated[Duration, AtLeast("50ms"), AtMost("10m")] = Duration(_INTERVAL)
    """Time between two checks of an engine."""
    timeout: Annotated[Duration, AtLeast("10ms"), AtMost("10m")] = Duration(_TIMEOUT)
    """Longest duration of a check."""
    failures: Annotated[Whole, Field(ge=1, le=100), Unit("checks")] = 3
    """Consecutive failures after which an engine gets no more requests."""
    successes: Annotated[Whole, Field(ge=1, le=100), Unit("checks")] = 2
    """Consecutive successes after which it gets requests again."""


class GatewaySpec(Shape):
    """All options of the gateway. Every field is optional."""

    listen: Listen = Listen.model_construct()
    """Where the gateway listens."""
    auth: Auth = Auth.model_construct()
    """Who may use the gateway."""
    cors: Cors = Cors.model_construct()
    """Web pages whose browsers may call the gateway."""
    limits: Limits = Limits.model_construct()
    """Limits on the memory and connections that clients can take."""
    timeouts: Timeouts = Timeouts.model_construct()
    """The longest times that the gateway waits."""
    logging: Logging = Logging.model_construct()
    """The log of the gateway."""
    client_fields: ClientFields = ClientFields.model_construct()
    """Request fields that clients may send only with permission."""
    retries: Retries = Retries.model_construct()
    """Further attempts on another engine."""
    health: Health = Health.model_construct()
    """Health checks of engines."""


class ModelGateway(Document):
    """The address that clients use, and the options of the gateway behind it."""

    kind: Literal["ModelGateway"] = "ModelGateway"
    """Always `ModelGateway`."""
    spec: GatewaySpec = GatewaySpec.model_construct()
    """All options of the gateway."""
