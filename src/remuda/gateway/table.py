"""What a gateway serves: the models, the engines behind them, and the keys that may use them. Replaced as a whole.

These are frozen msgspec structs, because a table crosses a socket as JSON each time an engine changes. A table says
what should be. What is known about an engine right now (load, health, connections) is not in it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from remuda.gateway.errors import GatewayError
from remuda.machine.secrets import read_secret

if TYPE_CHECKING:
    from remuda import spec

Routing = Literal["leastTime", "roundRobin", "leastRequest"]


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """One engine's address. `id` is what clients and metrics see; the address never leaves the gateway."""

    id: str
    host: str
    port: int
    tls: bool = False
    path_prefix: str = ""
    """Put before every path, for engines behind another proxy: "/team-a"."""
    api_key: str | None = None
    """Sent to the engine as a bearer token. What the client sent is not passed on."""
    upstream_model: str | None = None
    """The name this engine knows the model by; None = the served name."""
    state: Literal["ready", "draining"] = "ready"
    """A draining engine finishes the requests it has and gets no new ones."""
    supervised: bool = False
    """Somebody else sees its processes and replaces it when it hangs, so this gateway need not watch it."""


class ModelRoute(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model, and everything that decides where its requests go."""

    name: str
    served_name: str
    aliases: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    """LoRA adapters. The engines know these names, so they are forwarded as they are."""
    adapter_aliases: dict[str, str] = {}
    """Other name → adapter."""
    capabilities: tuple[str, ...] = ("chat", "completion")
    max_tokens: int | None = None
    """Largest max_tokens of a request that names no model and may be given to this one."""
    max_model_len: int | None = None
    routing: Routing = "leastTime"
    endpoints: tuple[Endpoint, ...] = ()
    waiting: str = ""
    """Why there is no engine yet, in words: said in the 503 and on /ready/{model}."""
    created_at: int = 0
    """Unix time for /v1/models."""


class KeyRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One API key: only its hash."""

    hash: str
    """"sha256:<hex>" of the key."""
    tenant: str
    name: str = ""
    """Which of the tenant's keys it is. Logs show it, so that the use of a rotated key can be seen."""
    models: tuple[str, ...] = ()
    """Models it may use; empty = all."""
    expires_at: float | None = None
    """Unix time."""
    disabled: bool = False


class Split(msgspec.Struct, frozen=True):
    """A name whose requests are divided between models."""

    name: str
    parts: tuple[tuple[str, int], ...]
    """(name of a model, weight): a model gets its weight's share of the sum."""


class Side(msgspec.Struct, frozen=True):
    """A path that a process beside the gateway serves: whatever can block, and so does not belong on the data path."""

    name: str
    """The label in metrics and logs."""
    path: str
    """`/v1/files`: this path and everything below it, with any method."""
    socket: str
    """The Unix socket that the process listens on."""
    body_bytes: int = 1 << 30
    """Largest request body. It is passed on as it comes, so it takes no memory here."""


class Table(msgspec.Struct, frozen=True, omit_defaults=True):
    models: tuple[ModelRoute, ...] = ()
    keys: tuple[KeyRecord, ...] = ()
    splits: tuple[Split, ...] = ()
    sides: tuple[Side, ...] = ()
    keys_wanted: bool = False
    """Ask for keys although there may be none: there is a tenant without keys, or the last key was revoked."""

    @property
    def asks_for_keys(self) -> bool:
        """Whether a request needs a key, as far as the table decides that."""
        return self.keys_wanted or bool(self.keys)


class Waiting(msgspec.Struct, frozen=True):
    """What models without an engine wait for at this moment. Changes nothing else, so it is no new table."""

    models: dict[str, str]
    """Name of the model → words."""


def resolve_key_models(table: Table) -> list[KeyRecord]:
    """The keys, with the names of their models resolved: access goes by a model's or an adapter's own name."""
    means: dict[str, str] = {}
    for model in table.models:
        means |= dict.fromkeys(model.aliases, model.served_name) | model.adapter_aliases
    for model in table.models:
        means |= {name: name for name in (*model.adapters, model.served_name)}
    return [
        msgspec.structs.replace(record, models=tuple(means.get(name, name) for name in record.models))
        for record in table.keys
    ]


def table_from_spec(loaded: "spec.Loaded", endpoints: Mapping[str, Sequence[Endpoint]] | None = None) -> Table:
    """The table of loaded documents.

    `endpoints` (metadata.name → engines) are those somebody started; a model with `endpoints:` of its own brings them.
    """
    started = endpoints or {}
    models = tuple(_route_of(model, started.get(model.name, ())) for model in loaded.models)
    keys = tuple(record for tenant in loaded.tenants for record in _records_of(tenant))
    return Table(models=models, keys=keys, keys_wanted=bool(loaded.tenants))


def _route_of(model: "spec.Model", started: Sequence[Endpoint]) -> ModelRoute:
    adapters = model.spec.engine.adapters
    own = tuple(
        _endpoint_of(f"{model.name}-{index}", endpoint, model.served_name)
        for index, endpoint in enumerate(model.spec.endpoints or ())
    )
    return ModelRoute(
        name=model.name,
        served_name=model.served_name,
        aliases=tuple(model.spec.aliases),
        adapters=tuple(adapter.name for adapter in adapters),
        adapter_aliases={alias: adapter.name for adapter in adapters for alias in adapter.aliases},
        capabilities=tuple(model.spec.capabilities),
        max_tokens=model.spec.max_tokens,
        max_model_len=model.spec.engine.max_model_len,
        routing=model.spec.routing,
        endpoints=own or tuple(started),
        waiting="" if own or started else "no engine has been started",
    )


def _endpoint_of(endpoint_id: str, endpoint: "spec.EndpointSpec", served_name: str) -> Endpoint:
    from urllib.parse import urlsplit

    url = urlsplit(endpoint.url)
    tls = url.scheme == "https"
    try:
        port = url.port or (443 if tls else 80)
    except ValueError:
        raise GatewayError(f"{endpoint.url} has no usable port", "for example http://10.0.0.7:8000") from None
    return Endpoint(
        id=endpoint_id,
        host=url.hostname or "",
        port=port,
        tls=tls,
        path_prefix=url.path.rstrip("/"),
        api_key=None if endpoint.api_key is None else read_secret(endpoint.api_key, f"endpoint {endpoint_id}: apiKey"),
        upstream_model=endpoint.model or served_name,
    )


def _records_of(tenant: "spec.Tenant") -> list[KeyRecord]:
    return [
        KeyRecord(
            hash=key.hash,
            tenant=tenant.name,
            name=key.name,
            models=tuple(tenant.spec.models),
            expires_at=None if key.expires is None else key.expires.timestamp(),
            disabled=tenant.spec.disabled,
        )
        for key in tenant.spec.keys
    ]
