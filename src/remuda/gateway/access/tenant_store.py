"""The file that holds the tenants of a machine: who may use its gateway, and the hashes of their keys.

The file is read whole, changed under a lock, and replaced atomically (written aside, fsync, rename, fsync of the
folder). Only its owner can read it. A file that cannot be understood is refused and never overwritten, because there
may be no other copy. A key itself is returned once, by the call that makes it, and is stored nowhere.

The file stays when its last tenant is removed. That a gateway asks for keys follows from the file, not from the keys in
it: revoking the last key opens nothing, also not for a gateway that starts later.

The module does not know where the file lies (the caller passes the path), nor what a request may do (`keys`).
"""

import logging
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from remuda.gateway.access.keys import ANONYMOUS, hash_key, make_key, parse_hash
from remuda.gateway.errors import GatewayError
from remuda.gateway.table import KeyRecord, Table
from remuda.machine.files import replace_file
from remuda.machine.locks import hold_lock

FORMAT = 1
"""Grows when an older Remuda could not read the file any more."""

KEEP_EXPIRED_S = 30 * 86_400.0
"""How long an expired key is remembered, so that its holder is told "expired" rather than "unknown"."""

FILE_NAME = "tenants.json"
"""Its name in the folder of a machine's state."""

MOST_KEYS = 64
"""Keys of one tenant, as many as a Tenant document takes."""

WATCH_S = 1.0
"""Between two looks at the file: how long a revoked key may still work. A look costs microseconds."""

NO_KEYS: Final = "there is no API key, so the gateway refuses every request"
"""Said of a gateway that asks for keys while there is none."""

HOW_TO_OPEN: Final = (
    "`remuda tenant create NAME` makes a key; `auth: {mode: open}` in a ModelGateway serves without keys"
)

_log = logging.getLogger("remuda.tenants")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class TenantStoreError(GatewayError):
    """The store cannot be read or changed as asked."""


class StoredKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """One key: its hash."""

    name: str
    hash: str
    created_at: float
    expires_at: float | None = None
    """Unix time; None = never."""


class StoredTenant(msgspec.Struct, frozen=True, omit_defaults=True):
    """One tenant."""

    name: str
    created_at: float
    keys: tuple[StoredKey, ...]
    models: tuple[str, ...] = ()
    """Models it may use; empty = all."""
    lifetime_s: float | None = None
    """How long each of its keys lives; a rotated key gets the same again."""
    keys_made: int = 1
    """Keys ever made: a name is not used twice."""


class _File(msgspec.Struct, frozen=True):
    version: int
    tenants: tuple[StoredTenant, ...]


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. Show `key` once and forget it."""

    tenant: str
    name: str
    expires_at: float | None
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredKeys:
    """What a store means for a gateway."""

    records: tuple[KeyRecord, ...] = ()
    """Its keys as the gateway's table holds them, expired ones included: their holders are told so."""
    wanted: bool = False
    """Whether a gateway asks for keys: somebody has made one here, although it may be revoked by now."""

    def add_to(self, table: Table) -> Table:
        """The table with these keys beside its own."""
        return replace(table, keys=table.keys + self.records, keys_wanted=table.keys_wanted or self.wanted)


NO_STORED_KEYS: Final = StoredKeys()
"""What a store means in which nobody has ever made a key."""


class TenantStore:
    """The tenants in the file at `path`; a file that is not there holds none."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_machine(cls, state: Path) -> "TenantStore":
        """The store of this machine; `state` is the folder of its state."""
        return cls(state / FILE_NAME)

    def read(self) -> tuple[StoredTenant, ...]:
        """All tenants, by name."""
        return self._read_file() or ()

    def _read_file(self) -> tuple[StoredTenant, ...] | None:
        """All tenants; None when there is no file. This never waits for a writer, because the file is always whole."""
        try:
            data = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise TenantStoreError(f"cannot read {self.path}: {error.strerror}") from error
        return _parse_file(data, self.path)

    def read_keys(self) -> StoredKeys:
        """What a gateway needs of it."""
        tenants = self._read_file()
        records = tuple(
            KeyRecord(hash=key.hash, tenant=tenant.name, name=key.name, models=tenant.models, expires_at=key.expires_at)
            for tenant in tenants or ()
            for key in tenant.keys
        )
        return StoredKeys(records, wanted=tenants is not None)

    async def watch(self, every_s: float = WATCH_S) -> AsyncIterator[StoredKeys]:
        """The keys now, and again after each change. What cannot be read is logged once, and the last keys stay."""
        import asyncio

        seen: tuple[int, ...] | None = None
        while True:
            version = self._stat()
            if version != seen:
                seen = version
                try:
                    keys = self.read_keys()
                except TenantStoreError as error:
                    _log.error("%s; the keys stay as they were", error.message)
                else:
                    yield keys
            await asyncio.sleep(every_s)

    def _stat(self) -> tuple[int, ...]:
        try:
            stat = self.path.stat()
        except OSError:
            return ()
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def create(self, name: str, models: tuple[str, ...], lifetime_s: float | None, now_at: float) -> NewKey:
        """A new tenant with its first key."""
        _check_name(name)
        made = _make(name, 1, lifetime_s, now_at)
        tenant = StoredTenant(name, now_at, (_stored(made, now_at),), tuple(dict.fromkeys(models)), lifetime_s)

        def add(tenants: tuple[StoredTenant, ...]) -> tuple[StoredTenant, ...]:
            if any(known.name == name for known in tenants):
                hint = f"`remuda tenant rotate {name}` gives it a new key; `remuda tenant revoke {name}` removes it"
                raise TenantStoreError(f"the tenant {name} exists already", hint)
            return (*tenants, tenant)

        self._change(add)
        return made

    def rotate(self, name: str, grace_s: float, now_at: float) -> NewKey:
        """A new key; the tenant's other keys end when `grace_s` has passed, or earlier if they were to."""
        made: list[NewKey] = []

        def rotate_one(tenants: tuple[StoredTenant, ...]) -> tuple[StoredTenant, ...]:
            tenant = _find(tenants, name)
            made.append(_make(name, tenant.keys_made + 1, tenant.lifetime_s, now_at))
            ends = ((key, _earlier(key.expires_at, now_at + grace_s)) for key in tenant.keys)
            old = [replace(key, expires_at=end_s) for key, end_s in ends if end_s > now_at - KEEP_EXPIRED_S]
            keys = (*old[-(MOST_KEYS - 1) :], _stored(made[0], now_at))
            rotated = replace(tenant, keys=keys, keys_made=tenant.keys_made + 1)
            return tuple(rotated if known is tenant else known for known in tenants)

        self._change(rotate_one)
        return made[0]

    def revoke(self, name: str, key_name: str | None = None) -> None:
        """Remove one key of a tenant, or the tenant with all of them. The gateway learns it with its next table."""

        def remove(tenants: tuple[StoredTenant, ...]) -> tuple[StoredTenant, ...]:
            tenant = _find(tenants, name)
            if key_name is None:
                return tuple(known for known in tenants if known is not tenant)
            keys = tuple(key for key in tenant.keys if key.name != key_name)
            if len(keys) == len(tenant.keys):
                names = ", ".join(key.name for key in tenant.keys) or "none"
                raise TenantStoreError(f"the tenant {name} has no key {key_name}", f"its keys: {names}")
            if not keys:
                hint = (
                    f"`remuda tenant rotate {name} --grace 0s` replaces it, `remuda tenant revoke {name}` removes both"
                )
                raise TenantStoreError(f"{key_name} is the only key of the tenant {name}", hint)
            left = replace(tenant, keys=keys)
            return tuple(left if known is tenant else known for known in tenants)

        self._change(remove)

    def _change(self, change: Callable[[tuple[StoredTenant, ...]], tuple[StoredTenant, ...]]) -> None:
        """Read, change and replace the file while no other process does."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The lock is on a file of its own, because the store itself is replaced.
            with hold_lock(self.path.with_name(self.path.name + ".lock")):
                tenants = sorted(change(self.read()), key=lambda tenant: tenant.name)
                data = msgspec.json.format(msgspec.json.encode(_File(FORMAT, tuple(tenants))), indent=2)
                replace_file(self.path, data + b"\n")
        except OSError as error:
            raise TenantStoreError(f"cannot change {self.path}: {error.strerror}") from error


def _make(tenant: str, number: int, lifetime_s: float | None, now_at: float) -> NewKey:
    name = f"k{number}"
    return NewKey(tenant, name, None if lifetime_s is None else now_at + lifetime_s, make_key(tenant, name))


def _stored(made: NewKey, now_at: float) -> StoredKey:
    return StoredKey(made.name, hash_key(made.key), now_at, made.expires_at)


def _earlier(expires_at: float | None, end_s: float) -> float:
    return end_s if expires_at is None else min(expires_at, end_s)


def _find(tenants: tuple[StoredTenant, ...], name: str) -> StoredTenant:
    for tenant in tenants:
        if tenant.name == name:
            return tenant
    known = ", ".join(tenant.name for tenant in tenants)
    hint = f"there are: {known}" if known else f"`remuda tenant create {name}` makes it"
    raise TenantStoreError(f"there is no tenant {name}", hint)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise TenantStoreError(
            f"{name!r} cannot be the name of a tenant",
            "at most 63 lower-case letters, digits and hyphens, a letter or digit first and last",
        )
    if name == ANONYMOUS.tenant:
        raise TenantStoreError(f"the name {name} is taken: it stands for requests without a key in the logs")


def _parse_file(data: bytes, path: Path) -> tuple[StoredTenant, ...]:
    hint = "restore it from a backup, or move it away to begin with no tenants; it was left as it is"
    try:
        version = msgspec.json.decode(data, type=_Version).version
        if version != FORMAT:
            newer = f"{path} has format {version}, this Remuda reads format {FORMAT}"
            raise TenantStoreError(newer, "use the version of Remuda that wrote it")
        tenants = msgspec.json.decode(data, type=_File).tenants
        for tenant in tenants:
            for key in tenant.keys:
                parse_hash(key.hash)
    except (msgspec.DecodeError, ValueError) as error:
        raise TenantStoreError(f"{path} is not a tenant store: {error}", hint) from error
    return tenants


class _Version(msgspec.Struct):
    version: int


def render_tenant(tenant: StoredTenant) -> str:
    """The tenant as the YAML document that Kubernetes and `remuda up FILE` read: hashes only."""
    lines = [
        "apiVersion: remuda.dev/v1alpha1",
        "kind: Tenant",
        "metadata:",
        f"  name: {_text(tenant.name)}",
        "spec:",
    ]
    if tenant.models:
        lines += ["  models:", *(f"    - {_text(model)}" for model in tenant.models)]
    lines += ["  keys:"] if tenant.keys else ["  keys: []"]
    for key in tenant.keys:
        lines += [f"    - name: {_text(key.name)}", f"      hash: {_text(key.hash)}"]
        if key.expires_at is not None:
            lines.append(f"      expires: {_text(render_instant(key.expires_at))}")
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """A double-quoted YAML scalar: JSON's strings are YAML's, and `no` stays a word."""
    return msgspec.json.encode(value).decode()


def render_instant(unix_s: float) -> str:
    """A moment as a Tenant document writes it: UTC, whole seconds."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
