"""`remuda tenant`: the API keys of this machine's gateway.

A key is printed alone on standard output, so that `KEY=$(remuda tenant create acme)` works, and only once; everything
said about it goes to standard error. Parses, calls gateway/tenant_store.py, prints.
"""

import re
import sys
import time
from typing import TYPE_CHECKING

import click

from remuda.cli import output
from remuda.errors import RemudaError

if TYPE_CHECKING:
    from remuda.gateway.access.tenant_store import NewKey, StoredKey, StoredTenant, TenantStore

DAY_S = 86_400.0
OPEN_NOTE = "no tenants: a gateway that is started now is open, and serves only this machine"


class Lifetime(click.ParamType[float]):
    """A length of time: 90d, 24h, 1h30m, 30s."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from remuda.spec.documents.quantity import parse_duration

        text = str(value)
        try:
            days = re.fullmatch(r"([0-9]{1,5})d", text)
            return int(days[1]) * DAY_S if days else parse_duration(text)
        except ValueError:
            self.fail(f"{text!r} is not a length of time; write 90d, 24h, 30m or 0s", param, ctx)


def _split_models(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(model for model in (part.strip() for part in value.split(",")) if model)


@click.group()
def command() -> None:
    """Create, list, rotate and revoke API keys.

    Each tenant has a name and one or more keys. While there is no tenant, the gateway is open, and serves only this
    machine.
    """


@command.command()
@click.argument("name")
@click.option(
    "--models", default="", callback=_split_models, metavar="A,B", help="Models it may use; all unless given."
)
@click.option("--expires", type=Lifetime(), help="How long its keys live, like 90d; for ever unless given.")
def create(name: str, models: tuple[str, ...], expires: float | None) -> None:
    """Make the tenant NAME and its first API key, and print the key.

    \b
    KEY=$(remuda tenant create acme --models remuda-demo --expires 90d)
    curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/v1/models
    """
    _check_lifetime(expires)
    _print_key(_open_store().create(name, models, expires, time.time()))


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--yaml", "as_yaml", is_flag=True, help="As Tenant documents for Kubernetes: hashes, never keys.")
def list_tenants(as_json: bool, as_yaml: bool) -> None:
    """List tenants and their keys. The keys themselves are not kept, so they cannot be shown."""
    from remuda.gateway.access.tenant_store import render_tenant

    store = _open_store()
    tenants = store.read()
    now_s = time.time()
    if as_yaml:
        click.echo("---\n".join(render_tenant(tenant) for tenant in tenants), nl=False)
    elif as_json:
        output.print_json([_tenant_as_json(tenant, now_s) for tenant in tenants])
    elif not tenants:
        click.echo(OPEN_NOTE, err=True)
    else:
        rows = [row for tenant in tenants for row in _rows(tenant, now_s)]
        headers = ("TENANT", "KEY", "CREATED", "EXPIRES", "MODELS")
        click.echo(output.render_table(headers, rows, output.terminal_width(sys.stdout)))


@command.command()
@click.argument("name")
@click.option("--grace", type=Lifetime(), default="24h", show_default=True, help="How long the old keys still work.")
def rotate(name: str, grace: float) -> None:
    """Make a new API key for NAME and print it; the old keys work for a while longer."""
    _print_key(_open_store().rotate(name, grace, time.time()))
    old = f"work for {output.format_seconds(grace)} more" if grace else "no longer work"
    click.echo(f"older keys of {name} {old}", err=True)


@command.command()
@click.argument("name")
@click.option("--key", "key_name", metavar="KEYNAME", help="Only this key (see `remuda tenant list`).")
@click.option("--yes", is_flag=True, help="Do not ask.")
def revoke(name: str, key_name: str | None, yes: bool) -> None:
    """Remove NAME and all its keys, or one of them.

    Asks first; without a terminal to ask on, --yes is needed.
    """
    store = _open_store()
    what = f"key {key_name} of {name}" if key_name else f"tenant {name} and all its keys"
    output.confirm_removal(what, yes=yes)
    store.revoke(name, key_name)
    click.echo(f"removed {what}", err=True)
    if not store.read():
        click.echo(OPEN_NOTE, err=True)


def _open_store() -> "TenantStore":
    from remuda.gateway.access.tenant_store import TenantStore
    from remuda.machine.home import Home

    return TenantStore.of_machine(Home.from_environment().state)


def _check_lifetime(expires: float | None) -> None:
    if expires == 0:
        raise RemudaError("a key that lives 0 s is of no use", "leave --expires out for a key that lives for ever")


def _print_key(made: "NewKey") -> None:
    from remuda.gateway.access.tenant_store import render_instant

    until = f", good until {render_instant(made.expires_s)}" if made.expires_s is not None else ""
    click.echo(f"key {made.name} of tenant {made.tenant}{until}; it is shown only now:", err=True)
    click.echo(made.key)


def _rows(tenant: "StoredTenant", now_s: float) -> list[tuple[str, str, str, str, str]]:
    from remuda.gateway.access.tenant_store import render_instant

    models = ", ".join(tenant.models) or "all"
    rows = []
    for key in tenant.keys:
        expires = "never" if key.expires_s is None else render_instant(key.expires_s)
        over = " (expired)" if _is_expired(key, now_s) else ""
        rows.append((tenant.name, key.name, render_instant(key.created_s), expires + over, models))
    return rows


def _tenant_as_json(tenant: "StoredTenant", now_s: float) -> dict[str, object]:
    from remuda.gateway.access.tenant_store import render_instant

    keys = [
        {
            "name": key.name,
            "created": render_instant(key.created_s),
            "expires": None if key.expires_s is None else render_instant(key.expires_s),
            "expired": _is_expired(key, now_s),
        }
        for key in tenant.keys
    ]
    return {"name": tenant.name, "models": list(tenant.models), "keys": keys}


def _is_expired(key: "StoredKey", now_s: float) -> bool:
    return key.expires_s is not None and key.expires_s <= now_s
