"""What a gateway serves: models, the engines behind them, and the keys that may ask. One value, replaced as a whole.

Frozen msgspec structs, because a Table crosses the control socket as JSON each time an engine changes. It says what
should be; what is known about each engine right now (load, health, connections) lives in `engines`. Made by `fleet`
and by `app` (static endpoints), read by everything here.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from remuda.gateway.errors import GatewayError

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
    """Before every path, for engines behind another proxy: "/team-a"."""
    api_key: str | None = None
    """Sent to the engine as a bearer token, instead of whatever the client sent to us."""
    upstream_model: str | None = None
    """The name this engine knows the model by; None = the served name."""
    state: Literal["ready", "draining"] = "ready"
    """draining: finishes what it has, is sent nothing new."""


class ModelRoute(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model and everything that decides where its requests go."""

    name: str
    served_name: str
    aliases: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    """LoRA adapters: names the engines themselves know, forwarded as they are."""
    adapter_aliases: dict[str, str] = {}
    """Other name → adapter."""
    capabilities: tuple[str, ...] = ("chat", "completion")
    max_tokens: int | None = None
    """Largest max_tokens this model takes when a request names no model."""
    max_model_len: int | None = None
    routing: Routing = "leastTime"
    endpoints: tuple[Endpoint, ...] = ()
    waiting: str = ""
    """Why there is no engine yet, in words: said in the 503 and on /ready/{model}."""
    created_s: int = 0
    """Unix time for /v1/models."""


class KeyRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One API key: only its hash."""

    hash: str
    """"sha256:<hex>" of the key."""
    tenant: str
    name: str = ""
    """Which of the tenant's keys: said in logs, so that one sees whether a rotated key is still used."""
    models: tuple[str, ...] = ()
    """Models it may use; empty = all."""
    expires_s: float | None = None
    """Unix time."""
    disabled: bool = False


class Table(msgspec.Struct, frozen=True, omit_defaults=True):
    models: tuple[ModelRoute, ...] = ()
    keys: tuple[KeyRecord, ...] = ()


def table_from_spec(loaded: "spec.Loaded", endpoints: Mapping[str, Sequence[Endpoint]] | None = None) -> Table:
    """The table of loaded documents. `endpoints` (model name → engines) are those somebody started; a model with
    `endpoints:` of its own brings them."""
    raise NotImplementedError
