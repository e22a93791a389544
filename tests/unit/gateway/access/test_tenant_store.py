import asyncio
import json
import multiprocessing
import os
import stat

import pytest

from remuda import spec
from remuda.gateway.access.keys import KeyRefusal, KeyRing, hash_key
from remuda.gateway.access.tenant_store import (
    KEEP_EXPIRED_S,
    MOST_KEYS,
    NO_STORED_KEYS,
    StoredKeys,
    TenantStore,
    TenantStoreError,
    render_tenant,
)
from remuda.gateway.table import KeyRecord, Table

NOW_S = 1_795_259_391.25
DAY_S = 86_400.0


@pytest.fixture
def store(tmp_path) -> TenantStore:
    return TenantStore(tmp_path / "state" / "tenants.json")


def who(store: TenantStore, key: str, now_at: float = NOW_S):
    return KeyRing(store.read_keys().records).check(f"Bearer {key}".encode(), None, now_at)


def test_a_created_tenant_is_let_in_with_its_key_and_its_models(store):
    made = store.create("acme", ("demo", "other", "demo"), None, NOW_S)
    principal = who(store, made.key)
    assert (principal.tenant, principal.key, principal.models) == ("acme", "k1", {"demo", "other"})


def test_a_store_that_is_not_there_holds_nobody_and_is_not_made_by_reading(store):
    assert store.read() == ()
    assert store.read_keys() == NO_STORED_KEYS == StoredKeys((), wanted=False)
    assert not store.path.parent.exists()


def test_a_store_asks_for_keys_from_its_first_key_on_until_its_file_is_removed(store):
    store.create("acme", (), None, NOW_S)
    assert store.read_keys().wanted
    store.revoke("acme")
    assert store.read_keys() == StoredKeys((), wanted=True)
    store.path.unlink()
    assert store.read_keys() == NO_STORED_KEYS


def test_stored_keys_join_those_of_a_table():
    written, stored = KeyRecord("sha256:1", "a"), KeyRecord("sha256:2", "b")
    assert StoredKeys((stored,), wanted=True).add_to(Table(keys=(written,))) == Table(
        keys=(written, stored), keys_wanted=True
    )
    assert NO_STORED_KEYS.add_to(Table()) == Table()
    assert NO_STORED_KEYS.add_to(Table(keys_wanted=True)) == Table(keys_wanted=True)
    assert StoredKeys((), wanted=True).add_to(Table()) == Table(keys_wanted=True)


def test_only_the_hash_is_kept(store):
    made = store.create("acme", (), None, NOW_S)
    everything = b"".join(path.read_bytes() for path in store.path.parent.iterdir())
    assert made.key.encode() not in everything
    assert hash_key(made.key).encode() in everything
    assert made.key not in repr(made)


def test_files_are_for_their_owner_only_and_nothing_is_left_beside_them(store):
    old_mask = os.umask(0)
    try:
        store.create("acme", (), None, NOW_S)
    finally:
        os.umask(old_mask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in store.path.parent.iterdir()}
    assert modes == {"tenants.json": 0o600, "tenants.json.lock": 0o600}
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


@pytest.mark.req("G3.key-store", level="unit")
def test_a_rotated_key_works_for_its_grace_and_no_longer(store):
    old = store.create("acme", (), None, NOW_S)
    new = store.rotate("acme", grace_s=DAY_S, now_at=NOW_S)
    assert new.name == "k2"
    assert who(store, old.key, NOW_S + DAY_S - 1).key == "k1"
    assert who(store, old.key, NOW_S + DAY_S) is KeyRefusal.EXPIRED
    assert who(store, new.key, NOW_S + 1_000 * DAY_S).key == "k2"


def test_rotating_without_grace_ends_the_old_key_at_once(store):
    old = store.create("acme", (), None, NOW_S)
    store.rotate("acme", grace_s=0.0, now_at=NOW_S)
    assert who(store, old.key, NOW_S) is KeyRefusal.EXPIRED


def test_a_grace_never_lengthens_a_life(store):
    old = store.create("acme", (), lifetime_s=10.0, now_at=NOW_S)
    new = store.rotate("acme", grace_s=DAY_S, now_at=NOW_S + 5.0)
    assert who(store, old.key, NOW_S + 9.9).key == "k1"
    assert who(store, old.key, NOW_S + 10.0) is KeyRefusal.EXPIRED
    assert new.expires_at == NOW_S + 15.0


def test_keys_long_expired_are_forgotten_and_their_names_not_used_again(store):
    ancient = store.create("acme", (), None, NOW_S)
    store.rotate("acme", 0.0, NOW_S)
    third = store.rotate("acme", 0.0, NOW_S + KEEP_EXPIRED_S + 1.0)
    assert who(store, ancient.key) is KeyRefusal.UNKNOWN
    assert third.name == "k3"
    assert [key.name for key in store.read()[0].keys] == ["k2", "k3"]


def test_a_tenant_rotated_without_end_keeps_its_newest_keys(store):
    store.create("acme", (), None, NOW_S)
    for _ in range(MOST_KEYS + 5):
        newest = store.rotate("acme", DAY_S, NOW_S)
    names = [key.name for key in store.read()[0].keys]
    assert len(names) == MOST_KEYS
    assert names[-1] == newest.name == f"k{MOST_KEYS + 6}"


def test_a_revoked_key_is_unknown_and_the_others_stay(store):
    old = store.create("acme", (), None, NOW_S)
    new = store.rotate("acme", DAY_S, NOW_S)
    store.revoke("acme", "k1")
    assert who(store, old.key) is KeyRefusal.UNKNOWN
    assert who(store, new.key).key == "k2"


def test_a_revoked_tenant_is_gone_and_the_others_stay(store):
    gone = store.create("acme", (), None, NOW_S)
    stays = store.create("beta", (), None, NOW_S)
    store.revoke("acme")
    assert who(store, gone.key) is KeyRefusal.UNKNOWN
    assert who(store, stays.key).tenant == "beta"


def test_tenants_are_kept_by_name(store):
    for name in ("zed", "acme", "mid"):
        store.create(name, (), None, NOW_S)
    assert [tenant.name for tenant in store.read()] == ["acme", "mid", "zed"]


@pytest.mark.parametrize(
    ("act", "message", "hint"),
    [
        (lambda s: s.create("acme", (), None, NOW_S), "the tenant acme exists already", "remuda tenant rotate acme"),
        (lambda s: s.rotate("nobody", 0.0, NOW_S), "there is no tenant nobody", "there are: acme"),
        (lambda s: s.revoke("nobody"), "there is no tenant nobody", "there are: acme"),
        (lambda s: s.revoke("acme", "k9"), "the tenant acme has no key k9", "its keys: k1"),
        (lambda s: s.create("Acme", (), None, NOW_S), "'Acme' cannot be the name of a tenant", "lower-case"),
        (lambda s: s.create("a" * 64, (), None, NOW_S), "cannot be the name of a tenant", "at most 63"),
        (lambda s: s.create("a_b", (), None, NOW_S), "cannot be the name of a tenant", "hyphens"),
        (lambda s: s.create("", (), None, NOW_S), "'' cannot be the name of a tenant", "lower-case"),
        (lambda s: s.create("anonymous", (), None, NOW_S), "the name anonymous is taken", ""),
    ],
    ids=["exists", "rotate nobody", "revoke nobody", "no such key", "capitals", "long", "underscore", "empty", "taken"],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(store, act, message, hint):
    store.create("acme", (), None, NOW_S)
    before = store.path.read_bytes()
    with pytest.raises(TenantStoreError) as caught:
        act(store)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert store.path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a tenant store: Input data was truncated"),
        (b'{"version": 1, "tenants": [', "is not a tenant store"),
        (b'{"version": 1}', "is not a tenant store: Object missing required field `tenants`"),
        (b'{"version": 1, "tenants": [{"name": "a"}]}', "is not a tenant store: Object missing required field"),
        (
            (
                b'{"version": 1, "tenants": [{"name": "a", "created_at": 1, "keys": [{"name": "k", "hash": "x", '
                b'"created_at": 1}]}]}'
            ),
            "is not a tenant store: not a key hash: 'x'",
        ),
        (b'{"version": 2, "people": []}', "has format 2, this Remuda reads format 1"),
        (b"\x00" * 4096, "is not a tenant store"),
        (b"\xff\xfe", "is not a tenant store"),
    ],
    ids=["empty", "cut off", "no tenants", "fields missing", "no hash", "a newer format", "zeros", "not text"],
)
def test_a_file_that_cannot_be_understood_is_refused_and_left_alone(store, content, message):
    store.path.parent.mkdir()
    store.path.write_bytes(content)
    for act in (store.read, store.read_keys, lambda: store.create("new", (), None, NOW_S), lambda: store.revoke("a")):
        with pytest.raises(TenantStoreError) as caught:
            act()
        assert message in caught.value.message
        assert str(store.path) in caught.value.message
        assert caught.value.hint
    assert store.path.read_bytes() == content


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(store, monkeypatch):
    store.create("acme", (), None, NOW_S)
    before = store.path.read_bytes()

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(TenantStoreError, match="No space left on device"):
        store.create("beta", (), None, NOW_S)
    assert store.path.read_bytes() == before
    assert sorted(path.name for path in store.path.parent.iterdir()) == ["tenants.json", "tenants.json.lock"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TenantStoreError, match="cannot change"):
        TenantStore(tmp_path / "file" / "tenants.json").create("acme", (), None, NOW_S)


def _create_many(path, prefix: str) -> None:
    for number in range(20):
        TenantStore(path).create(f"{prefix}-{number}", (), None, NOW_S)


def test_processes_that_write_at_once_lose_nothing(store):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_create_many, args=(store.path, prefix)) for prefix in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert {tenant.name for tenant in store.read()} == {f"{p}-{n}" for p in "abc" for n in range(20)}


def test_the_file_says_its_format_and_is_readable_to_people(store):
    store.create("acme", (), None, NOW_S)
    text = store.path.read_text()
    assert json.loads(text)["version"] == 1
    assert text.splitlines()[1] == '  "version": 1,'


def test_a_tenant_as_a_document_is_one_that_the_loader_takes(store):
    store.create("no", ("yes", "org/model:1"), lifetime_s=90 * DAY_S, now_at=NOW_S)
    store.rotate("no", DAY_S, NOW_S)
    (tenant,) = store.read()
    loaded = spec.load_text(render_tenant(tenant))
    (document,) = loaded.tenants
    assert document.metadata.name == "no"
    assert document.spec.models == ("yes", "org/model:1")
    assert [(key.name, key.hash) for key in document.spec.keys] == [(key.name, key.hash) for key in tenant.keys]
    assert [key.expires.timestamp() for key in document.spec.keys] == [int(key.expires_at) for key in tenant.keys]


def test_the_only_key_of_a_tenant_is_not_revoked_alone(store):
    """Its operator says whether the key is replaced or the tenant ends."""
    made = store.create("acme", (), None, NOW_S)
    with pytest.raises(TenantStoreError, match="k1 is the only key of the tenant acme"):
        store.revoke("acme", "k1")
    assert who(store, made.key).key == "k1"


async def test_a_watcher_is_told_the_keys_now_and_after_each_change(store):
    told = store.watch(every_s=0.001)
    assert await anext(told) == NO_STORED_KEYS
    store.create("acme", (), None, NOW_S)
    assert [(record.tenant, record.name) for record in (await anext(told)).records] == [("acme", "k1")]
    store.rotate("acme", 0.0, NOW_S)
    assert [record.name for record in (await anext(told)).records] == ["k1", "k2"]
    store.revoke("acme")
    assert await anext(told) == StoredKeys((), wanted=True)
    await told.aclose()


async def test_a_watcher_keeps_the_last_keys_when_the_file_is_damaged(store, caplog, monkeypatch):
    complained = asyncio.Event()
    monkeypatch.setattr(caplog.handler, "emit", lambda record: (caplog.records.append(record), complained.set()))
    store.create("acme", (), None, NOW_S)
    good = store.path.read_bytes()
    told = store.watch(every_s=0.001)
    assert len((await anext(told)).records) == 1
    store.path.write_bytes(b"{")
    waiting = asyncio.ensure_future(anext(told))
    async with asyncio.timeout(10):
        await complained.wait()
        await asyncio.sleep(0.01)
        assert not waiting.done()
        store.path.write_bytes(good + b"\n")
        assert len((await waiting).records) == 1
    (complaint,) = caplog.records
    assert "is not a tenant store" in complaint.getMessage()
    assert complaint.getMessage().endswith("; the keys stay as they were")
    await told.aclose()
