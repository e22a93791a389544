"""`remuda tenant` manages the API keys of this machine's gateway.

A new key is printed once, alone on standard output, so that `KEY=$(remuda tenant create acme)` works. Everything else
goes to standard error.
"""

import sys
import time
from typing import TYPE_CHECKING

import click

from remuda.cli import output
from remuda.cli.parameters import Lifetime
from remuda.errors import RemudaError

if TYPE_CHECKING:
    from remuda.gateway.access.tenant_store import NewKey, StoredKey, StoredTenant, TenantStore

OPEN_NOTE = "there are no tenants: a gateway that starts now needs no API key and accepts only local clients"


def _split_models(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(model for model in (part.strip() for part in value.split(",")) if model)


@click.group()
def command() -> None:
    """Create, list, rotate and revoke API keys.

    Each tenant has a name and one or more keys. Until the first tenant is created, the gateway needs no key and accepts
    only clients on this machine. After that it needs a key, also when all keys are revoked.
    """


@command.command()
@click.argument("name")
@click.option(
    "--models",
    default="",
    callback=_split_models,
    metavar="A,B",
    help="Models that it may use. By default all.",
)
@click.option("--expires", type=Lifetime(), help="Time until its keys expire, such as 90d. By default never.")
def create(name: str, models: tuple[str, ...], expires: float | None) -> None:
    """Create the tenant NAME with one API key, and print the key.

    \b
    KEY=$(remuda tenant create acme --models remuda-demo --expires 90d)
    curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/v1/models
    """
    _check_lifetime(expires)
    _print_key(_open_store().create(name, models, expires, time.time()))


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--yaml", "as_yaml", is_flag=True, help="Print Tenant documents, which hold hashes of keys, never keys.")
def list_tenants(as_json: bool, as_yaml: bool) -> None:
    """List tenants and the names of their keys.

    The keys themselves are not stored, so they cannot be shown.
    """
    from remuda.gateway.access.tenant_store import render_tenant

    store = _open_store()
    tenants = store.read()
    now_at = time.time()
    if as_yaml:
        click.echo("---\n".join(render_tenant(tenant) for tenant in tenants), nl=False)
    elif as_json:
        output.print_json([_tenant_as_json(tenant, now_at) for tenant in tenants])
    elif not tenants:
        click.echo(_describe_no_tenants(store), err=True)
    else:
        rows = [row for tenant in tenants for row in _rows(tenant, now_at)]
        headers = ("TENANT", "KEY", "CREATED", "EXPIRES", "MODELS")
        click.echo(output.render_table(headers, rows, output.terminal_width(sys.stdout)))


@command.command()
@click.argument("name")
@click.option("--grace", type=Lifetime(), default="24h", show_default=True, help="Time for which old keys still work.")
def rotate(name: str, grace: float) -> None:
    """Create a new API key for NAME and print it.

    The old keys stay valid for the time that --grace gives.
    """
    _print_key(_open_store().rotate(name, grace, time.time()))
    old = f"work for {output.format_seconds(grace)} more" if grace else "no longer work"
    click.echo(f"older keys of {name} {old}", err=True)


@command.command()
@click.argument("name")
@click.option("--key", "key_name", metavar="KEYNAME", help="Remove only this key; `remuda tenant list` shows its name.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def revoke(name: str, key_name: str | None, yes: bool) -> None:
    """Remove the tenant NAME with all its keys, or one of its keys.

    The command asks for confirmation; without a terminal it needs --yes.
    """
    store = _open_store()
    what = f"key {key_name} of {name}" if key_name else f"tenant {name} and all its keys"
    output.confirm_removal(what, yes=yes)
    store.revoke(name, key_name)
    click.echo(f"removed {what}", err=True)
    if not store.read():
        click.echo(_describe_no_tenants(store), err=True)


def _describe_no_tenants(store: "TenantStore") -> str:
    """What it means for a gateway that there are no tenants: it is closed when there were some before."""
    from remuda.gateway.access.tenant_store import HOW_TO_OPEN, NO_KEYS

    if not store.read_keys().wanted:
        return OPEN_NOTE
    return (
        f"{NO_KEYS}, also after a restart\n"
        f"hint: {HOW_TO_OPEN}, and so does removing {store.path} before the gateway starts"
    )


def _open_store() -> "TenantStore":
    from remuda.gateway.access.tenant_store import TenantStore
    from remuda.machine.home import Home

    return TenantStore.of_machine(Home.from_environment().state)


def _check_lifetime(expires: float | None) -> None:
    if expires == 0:
        raise RemudaError(
            "a key that expires after 0 s could never be used", "leave --expires out for a key that never expires"
        )


def _print_key(made: "NewKey") -> None:
    from remuda.gateway.access.tenant_store import render_instant

    until = f", valid until {render_instant(made.expires_at)}" if made.expires_at is not None else ""
    click.echo(f"key {made.name} of tenant {made.tenant}{until}; it is shown only once:", err=True)
    click.echo(made.key)


def _rows(tenant: "StoredTenant", now_at: float) -> list[tuple[str, str, str, str, str]]:
    from remuda.gateway.access.tenant_store import render_instant

    models = ", ".join(tenant.models) or "all"
    rows = []
    for key in tenant.keys:
        expires = "never" if key.expires_at is None else render_instant(key.expires_at)
        over = " (expired)" if _is_expired(key, now_at) else ""
        rows.append((tenant.name, key.name, render_instant(key.created_at), expires + over, models))
    return rows


def _tenant_as_json(tenant: "StoredTenant", now_at: float) -> dict[str, object]:
    from remuda.gateway.access.tenant_store import render_instant

    keys = [
        {
            "name": key.name,
            "created": render_instant(key.created_at),
            "expires": None if key.expires_at is None else render_instant(key.expires_at),
            "expired": _is_expired(key, now_at),
        }
        for key in tenant.keys
    ]
    return {"name": tenant.name, "models": list(tenant.models), "keys": keys}


def _is_expired(key: "StoredKey", now_at: float) -> bool:
    return key.expires_at is not None and key.expires_at <= now_at
