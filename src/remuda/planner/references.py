"""Checks of references between documents: the models of a tenant, keys that two tenants share, a gateway's keys.

It looks only at the documents that were loaded together.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from ipaddress import ip_address

from remuda import spec
from remuda.planner.facts import error, warning
from remuda.spec import Problem

Finding = tuple[spec.Model | spec.ModelGateway | spec.Tenant, Problem]


def check_gateways(loaded: spec.Loaded) -> Iterator[Finding]:
    """Warn about gateways that a network can reach without API keys or without encryption."""
    for gateway in loaded.gateways:
        listen, mode = gateway.spec.listen, gateway.spec.auth.mode
        if _is_loopback(listen.host):
            continue
        if mode == "open":
            message = f"anybody who can reach {listen.host} can use every model"
            yield gateway, warning("auth.mode", message, "auth.mode: keys and a Tenant (`remuda tenant create`)")
        elif not loaded.tenants:
            yield (
                gateway,
                warning(
                    "listen.host",
                    f"listening on {listen.host} needs API keys, and there is no Tenant among these files",
                    "`remuda tenant create NAME` makes one; or auth.mode: open if everybody may use it",
                ),
            )
        if listen.tls is None and mode != "open":
            yield (
                gateway,
                warning("listen", "API keys cross the network unencrypted", "set listen.tls, or put TLS in front"),
            )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_tenants(loaded: spec.Loaded) -> Iterator[Finding]:
    """Find unknown models in `models` of tenants, and keys that belong to two tenants."""
    names = {name for model in loaded.models for name in _names(model)}
    owners: dict[str, str] = {}
    for tenant in loaded.tenants:
        for number, name in enumerate(tenant.spec.models):
            if names and name not in names:
                near = get_close_matches(name, names, 1)
                hint = f"did you mean {near[0]}?" if near else "served names, aliases and adapter names count"
                yield tenant, warning(f"models.{number}", f"no model among these files is called {name}", hint)
        for number, key in enumerate(tenant.spec.keys):
            owner = owners.setdefault(key.hash, tenant.name)
            if owner != tenant.name:
                message = f"this key belongs to the tenant {owner} as well"
                yield tenant, error(f"keys.{number}.hash", message, "give each tenant keys of its own")


def _names(model: spec.Model) -> Iterator[str]:
    yield model.served_name
    yield from model.spec.aliases
    for adapter in model.spec.engine.adapters:
        yield adapter.name
        yield from adapter.aliases
